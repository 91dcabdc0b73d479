//! The model of a real federation is plain FedAvg on the quantised updates, bit for bit.

use crate::plain::{exported, fedavg, trained};
use crate::small::Small;

#[test]
fn a_federation_of_real_processes_trains_exactly_plain_fedavg_on_quantised_updates() {
    let mut small = Small::found(4, 3, false);
    small.run_to_the_end();
    let rounds = trained(&small, None);
    assert_eq!(exported(&small), fedavg(&small, &rounds), "the same bits");
}
