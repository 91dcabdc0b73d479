use std::cell::Cell;
use std::rc::Rc;

use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

use super::*;

struct Probe(Rc<Cell<u32>>);

impl Zeroize for Probe {
    fn zeroize(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_secret_is_wiped_when_it_is_dropped_and_not_before() {
    let wiped = Rc::new(Cell::new(0));
    let secret = Secret::new(Probe(wiped.clone()));
    let moved = secret;
    assert_eq!(wiped.get(), 0);
    drop(moved);
    assert_eq!(wiped.get(), 1);
}

#[test]
fn moving_a_secret_leaves_its_bytes_where_they_are() {
    let secret = Secret::new([5_u8; 32]);
    let before = secret.expose().as_ptr();
    let moved = [secret];
    assert_eq!(moved[0].expose().as_ptr(), before);
}

#[test]
fn equality_sees_every_byte() {
    let secret = Secret::new([1_u8; 32]);
    assert!(secret.ct_eq(&Secret::new([1; 32])));
    for place in 0..32 {
        let mut other = [1; 32];
        other[place] ^= 0x80;
        assert!(!secret.ct_eq(&Secret::new(other)), "byte {place}");
    }
}

#[test]
fn random_secrets_come_from_the_generator_alone() {
    let draw = |seed| Seed::random(&mut ChaCha12Rng::seed_from_u64(seed));
    assert!(draw(1).ct_eq(&draw(1)));
    assert!(!draw(1).ct_eq(&draw(2)));
}

#[test]
fn a_slice_of_another_length_is_no_secret() {
    assert!(Seed::from_slice(&[0; 31]).is_none());
    assert!(Seed::from_slice(&[0; 33]).is_none());
    assert!(Seed::from_slice(&[7; 32]).is_some_and(|secret| secret.expose() == &[7; 32]));
}

fn wipes<T: ZeroizeOnDrop>() {}

#[test]
fn every_type_that_holds_a_key_wipes_it() {
    wipes::<Seed>();
    wipes::<Secret<Vec<u8>>>();
    wipes::<crate::agreement::AgreementSecret>();
    wipes::<crate::agreement::HybridSecret>();
    wipes::<crate::identity::IdentityKey>();
    wipes::<crate::envelope::DataKey>();
    wipes::<crate::envelope::KeyEncryptionKey>();
    wipes::<crate::mask::MaskKey>();
    wipes::<crate::shamir::Share>();
    // What they are made of.
    wipes::<ed25519_dalek::SigningKey>();
    wipes::<x25519_dalek::StaticSecret>();
    wipes::<x25519_dalek::SharedSecret>();
    wipes::<aes_gcm::Aes256Gcm>();
    wipes::<ctr::Ctr128BE<aes::Aes256Enc>>();
}
