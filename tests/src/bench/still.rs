//! A trainer that stands still: its updates are zero, and as long as the model.

use roundelay_client::train::{Control, DataSummary, Metrics, TrainError, Trainer, Update};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};

/// Rows that it says to have.
const ROWS: u64 = 8;

/// Stands still.
pub struct Still;

impl Trainer for Still {
    fn prepare(&mut self, task: &Task) -> Result<DataSummary, TrainError> {
        let data = Digest::of("roundelay/bench/still", &[]);
        Ok(DataSummary { rows: ROWS, held_out_rows: 1, schema: task.schema.digest(), data })
    }

    fn statistics(&mut self) -> Result<Vec<ColumnStatistics>, TrainError> {
        Ok(Vec::new())
    }

    fn standardise(&mut self, _by: &Standardisation) -> Result<(), TrainError> {
        Ok(())
    }

    fn initial(&mut self) -> Result<Vec<f32>, TrainError> {
        Err(TrainError::Task("the model starts from a seed".to_owned()))
    }

    fn train(
        &mut self,
        model: &[f32],
        _hyperparameters: &Hyperparameters,
        _round: RoundNumber,
        _control: &dyn Control,
    ) -> Result<Update, TrainError> {
        Ok(Update { delta: vec![0.0; model.len()], rows: ROWS, loss: 0.7 })
    }

    fn evaluate(&mut self, _model: &[f32]) -> Result<Metrics, TrainError> {
        Ok(Metrics { rows: 1, correct: 1, loss_sum: 0.7 })
    }
}
