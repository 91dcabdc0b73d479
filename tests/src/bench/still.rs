//! Clients whose trainer stands still: its updates are known, and as long as the model. They are real
//! ones, through the SDK, in this process.

use std::thread::{self, JoinHandle};

use roundelay_client::sdk::{Client, Stopper};
use roundelay_client::train::{Control, DataSummary, Metrics, TrainError, Trainer, Update};
use roundelay_crypto::digest::Digest;
use roundelay_program::note;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};

use crate::demo::federation::Federation;

/// All clients of a federation, each on threads of its own.
pub struct Clients(Vec<(Stopper, JoinHandle<()>)>);

impl Clients {
    /// Starts them.
    ///
    /// # Errors
    /// What a client says.
    pub fn start(federation: &Federation) -> Result<Self, String> {
        let start = |folder| {
            let client = Client::builder()
                .dir(folder)
                .trainer(Still(|parameters| vec![0.0; parameters]))
                .build();
            let client = client.map_err(|error| error.to_string())?;
            let stopper = client.stopper();
            let thread = thread::spawn(move || {
                if let Err(error) = client.run() {
                    note!("a client: {error}");
                }
            });
            Ok((stopper, thread))
        };
        federation.sites.iter().map(|site| start(site.folder())).collect::<Result<_, _>>().map(Self)
    }

    /// Stops them. How one ended is of no account.
    pub fn stop(self) {
        for (stopper, thread) in self.0 {
            stopper.stop();
            let _ = thread.join();
        }
    }
}

/// Rows that it says to have.
const ROWS: u64 = 8;

/// Computes nothing: its update is a function of how many parameters there are.
pub struct Still(pub fn(usize) -> Vec<f32>);

impl Trainer for Still {
    fn prepare(&mut self, task: &Task) -> Result<DataSummary, TrainError> {
        let data = Digest::of("roundelay/bench/still", &[]);
        let (schema, data_set) = (task.schema.digest(), "all".to_owned());
        Ok(DataSummary { rows: ROWS, held_out_rows: 1, schema, data, data_set })
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
        _version: ModelVersion,
        _control: &dyn Control,
    ) -> Result<Update, TrainError> {
        Ok(Update { delta: self.0(model.len()), rows: ROWS, loss: 0.7 })
    }

    fn evaluate(&mut self, _model: &[f32]) -> Result<Metrics, TrainError> {
        Ok(Metrics { rows: 1, correct: 1, loss_sum: 0.7 })
    }
}
