//! Reading the published and frozen vectors of `tests/vectors`, for the tests of all modules.

use serde_json::Value;

use crate::secret::Secret;

/// The text of a file of vectors.
macro_rules! text {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/", $name, ".json"))
    };
}
pub(crate) use text;

/// The list `name` of a file of vectors; never empty.
pub(crate) fn list(text: &str, name: &str) -> Vec<Case> {
    let file: Value = serde_json::from_str(text).unwrap();
    let cases: Vec<Case> = file[name].as_array().unwrap().iter().cloned().map(Case).collect();
    assert!(!cases.is_empty());
    cases
}

/// One vector; its fields are named as in the file.
pub(crate) struct Case(Value);

impl Case {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }

    pub(crate) fn float(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        bytes(&self.0[name])
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    pub(crate) fn secret<const N: usize>(&self, name: &str) -> Secret<[u8; N]> {
        Secret::new(self.array(name))
    }

    pub(crate) fn byte_lists(&self, name: &str) -> Vec<Vec<u8>> {
        self.0[name].as_array().unwrap().iter().map(bytes).collect()
    }

    pub(crate) fn lists(&self, name: &str) -> Vec<Vec<Vec<u8>>> {
        let nested = self.0[name].as_array().unwrap();
        nested.iter().map(|inner| inner.as_array().unwrap().iter().map(bytes).collect()).collect()
    }

    pub(crate) fn numbers(&self, name: &str) -> Vec<Vec<u64>> {
        serde_json::from_value(self.0[name].clone()).unwrap()
    }

    pub(crate) fn cases(&self, name: &str) -> Vec<Self> {
        self.0[name].as_array().unwrap().iter().cloned().map(Self).collect()
    }

    pub(crate) fn sign(&self, name: &str) -> i64 {
        self.0[name].as_i64().unwrap()
    }
}

/// Parts as slices.
pub(crate) fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// A generator that plays given bytes once, for vectors that name the randomness.
pub(crate) struct Played(pub(crate) std::collections::VecDeque<u8>);

impl rand_core::TryRng for Played {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill_with(|| self.0.pop_front().expect("the vector has enough randomness"));
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Played {}
