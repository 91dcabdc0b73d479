//! Federations that promise differential privacy, from the task file to the spent budget.

use roundelay_client::train::Trainer;
use roundelay_protocol::statistics::Standardisation;

use crate::plain::{exported, trainer};
use crate::small::Small;

const ROUNDS: u32 = 4;

/// Noise so little that few clients learn something. Four rounds cost 55, five 66: one may fail.
const DISTRIBUTED: &str = "mechanism = \"distributed\"\nepsilon = 80.0\ndelta = 1e-5\n\
                           noise_multiplier = 0.3\nl2_clip = 1.0\n";

#[test]
fn a_private_federation_trains_and_every_site_knows_what_it_has_spent() {
    let mut small = Small::found_private(4, ROUNDS, "malicious", DISTRIBUTED);
    small.run_to_the_end();
    small.all_models_agree();
    let model = exported(&small);
    let mut trainer = trainer(&small, 0);
    trainer.standardise(&Standardisation::from_bounds(&small.task.schema)).expect("it fits");
    let accuracy = trainer.evaluate(&model).expect("an evaluation").accuracy();
    assert!(accuracy > 0.8, "it learned in spite of the noise: {accuracy}");

    let status = small.federation.status().expect("a status");
    let privacy = &status["engine"]["privacy"];
    let charged = privacy["rounds_charged"].as_u64().expect("a number");
    assert!(charged >= u64::from(ROUNDS), "{status}");
    for site in &small.federation.sites {
        let status = site.verb(&["status"]).expect("a status");
        let [spent] = &status["privacy"].as_array().expect("a list")[..] else {
            panic!("one data set: {status}")
        };
        assert_eq!(spent["rounds_charged"], charged, "{status}");
        let epsilon = spent["epsilon_spent"].as_f64().expect("a number");
        assert!(epsilon > 10.0 && epsilon <= 80.0, "{status}");
        assert_eq!(spent["name"], status["last"]["federations"][0]["name"]);
    }
}

#[test]
fn a_private_federation_with_central_noise_trains_under_a_coordinator_that_is_trusted() {
    let central = DISTRIBUTED.replace("distributed", "central");
    let mut small = Small::found_private(3, 2, "semi_honest", &central);
    small.run_to_the_end();
    small.all_models_agree();
    let status = small.federation.status().expect("a status");
    assert_eq!(status["engine"]["privacy"]["rounds_charged"], 2, "{status}");
}
