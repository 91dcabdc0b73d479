//! Kernels for x86-64: keystream and addition in one pass over registers.
//!
//! These modules are the only ones of the crate that hold unsafe code: calls of functions that
//! need instructions which were found at run time, and loads and stores of whole vectors.

pub(super) use aesni::AesNi;
pub(super) use vaes::Vaes;

/// An [`Engine`](super::kernel::Engine) over the `Stream`, `load`, `store` and `combine` of a
/// module whose registers have `VECTOR` bytes. A macro and no generic function: which instructions a
/// function may be compiled to stands in its own attribute.
macro_rules! engine {
    ($proof:ty, $instructions:literal) => {
        impl Engine for $proof {
            type Schedule = Schedule;
            type Scratch = ();

            fn schedule(&self, key: &MaskKey) -> Schedule {
                // SAFETY: `self` proves that AES-NI was found; SSE2 belongs to x86-64.
                unsafe { Schedule::new(key.seed.expose()) }
            }

            fn scratch(&self) {}

            fn add(
                &self,
                (): &mut (),
                strip: &mut [u8],
                ring: Ring,
                (sign, key): &(Sign, Schedule),
                block: u64,
            ) {
                // SAFETY: `self` proves that the instructions of `add` were found.
                unsafe {
                    match (ring, sign) {
                        (Ring::Z16, Sign::Plus) => add::<16, false>(strip, key, block),
                        (Ring::Z16, Sign::Minus) => add::<16, true>(strip, key, block),
                        (Ring::Z32, Sign::Plus) => add::<32, false>(strip, key, block),
                        (Ring::Z32, Sign::Minus) => add::<32, true>(strip, key, block),
                        (Ring::Z64, Sign::Plus) => add::<64, false>(strip, key, block),
                        (Ring::Z64, Sign::Minus) => add::<64, true>(strip, key, block),
                    }
                }
            }
        }

        #[target_feature(enable = $instructions)]
        fn add<const BITS: u32, const MINUS: bool>(strip: &mut [u8], key: &Schedule, block: u64) {
            let mut stream = Stream::new(key, block);
            let (groups, rest) = strip.as_chunks_mut::<{ VECTOR * GROUP }>();
            for group in groups {
                let masks = stream.next::<GROUP>();
                let (vectors, _) = group.as_chunks_mut::<VECTOR>();
                for (vector, mask) in vectors.iter_mut().zip(masks) {
                    store(vector, combine::<BITS, MINUS>(load(vector), mask));
                }
            }
            let (vectors, rest) = rest.as_chunks_mut::<VECTOR>();
            for vector in vectors {
                let [mask] = stream.next::<1>();
                store(vector, combine::<BITS, MINUS>(load(vector), mask));
            }
            if !rest.is_empty() {
                let [mask] = stream.next::<1>();
                let mut vector = [0; VECTOR];
                vector.iter_mut().zip(&*rest).for_each(|(to, from)| *to = *from);
                let sum = combine::<BITS, MINUS>(load(&vector), mask);
                store(&mut vector, sum);
                rest.iter_mut().zip(vector).for_each(|(to, from)| *to = from);
            }
        }
    };
}

mod aesni;
mod schedule;
mod vaes;
