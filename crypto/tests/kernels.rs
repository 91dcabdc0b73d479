//! Which of the vectorised paths the tests of this crate could try on this processor.

use roundelay_crypto::mask::Kernel;
use skip::skip;

#[path = "../../tests/src/harness/skip.rs"]
#[allow(unreachable_pub, reason = "the file is public in the package that it belongs to")]
mod skip;

#[test]
fn kernels_that_this_processor_lacks_are_told() {
    for (name, kernel) in Kernel::all() {
        if kernel.is_none() {
            skip(&format!("mask kernel {name}"), "this processor lacks its instructions");
        }
    }
}
