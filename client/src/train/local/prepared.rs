//! A task with the rows to train it on and the learner that does: the state of a
//! [`LocalTrainer`](super::LocalTrainer) once it is prepared.

use std::borrow::Cow;
use std::sync::Arc;

use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::model::{ModelSpec, initial};
use roundelay_protocol::schema::Schema;
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};

use super::{Engine, Learner, Options};
use crate::data::{Data, InputShape, Rows, standard};
use crate::train::batches::Batches;
use crate::train::linear::Linear;
use crate::train::{Control, DataSummary, Metrics, TrainError, Update};

/// Rows evaluated at once.
const EVALUATED_AT_ONCE: usize = 1024;

pub(super) struct Prepared {
    task: Task,
    data: Arc<Data>,
    data_set: String,
    standardised: Option<Standardised>,
    learner: Box<dyn Learner>,
    /// What the learner held before any model was loaded: a TorchScript file's own parameters.
    own: Vec<f32>,
}

/// The rows as the model sees them, where they are not those of the data.
struct Standardised {
    by: Standardisation,
    train: Rows,
    held_out: Rows,
}

impl Prepared {
    pub(super) fn new(task: &Task, data: Arc<Data>, options: &Options) -> Result<Self, TrainError> {
        let learner = learner(task, options)?;
        let mut prepared = Self {
            task: task.clone(),
            data,
            data_set: options.data.data_set.clone(),
            standardised: None,
            learner,
            own: Vec::new(),
        };
        if matches!(task.model, ModelSpec::TorchScript { .. }) {
            prepared.own = prepared.stored()?;
        }
        Ok(prepared)
    }

    pub(super) fn summary(&self) -> DataSummary {
        DataSummary {
            rows: self.data.train.len() as u64,
            held_out_rows: self.data.held_out.len() as u64,
            schema: self.task.schema.digest(),
            data: self.data.digest,
            data_set: self.data_set.clone(),
        }
    }

    pub(super) fn statistics(&self) -> Result<Vec<ColumnStatistics>, TrainError> {
        standard::statistics(&self.task.schema, &self.data.train)
            .map_err(|error| TrainError::Internal(error.to_string()))
    }

    pub(super) fn standardise(&mut self, by: &Standardisation) -> Result<(), TrainError> {
        let schema = &self.task.schema;
        if !by.fits(schema) {
            let what = "the standardisation does not fit the schema's numeric columns";
            return Err(TrainError::Task(what.to_owned()));
        }
        let train = standard::standardised(schema, &self.data.train, by);
        let held_out = standard::standardised(schema, &self.data.held_out, by);
        self.standardised = Some(Standardised { by: by.clone(), train, held_out });
        Ok(())
    }

    pub(super) fn initial(&self) -> Result<Vec<f32>, TrainError> {
        let initial = initial(&self.task).map_err(|error| TrainError::Task(error.to_string()))?;
        Ok(initial.unwrap_or_else(|| self.own.clone()))
    }

    fn stored(&self) -> Result<Vec<f32>, TrainError> {
        let mut model = vec![0.0; self.learner.parameters()];
        self.learner.store(&mut model)?;
        Ok(model)
    }

    /// The rows to train on, as the model sees them.
    pub(super) fn rows(&self) -> Result<&Rows, TrainError> {
        match (&self.standardised, &self.task.schema) {
            (Some(standardised), _) => Ok(&standardised.train),
            (None, Schema::Table { standardise: true, .. }) => {
                Err(TrainError::NotPrepared("standardise comes first".to_owned()))
            }
            (None, _) => Ok(&self.data.train),
        }
    }

    pub(super) fn load(&mut self, model: &[f32]) -> Result<(), TrainError> {
        let expected = self.learner.parameters();
        if model.len() != expected {
            let what = format!("has {} parameters, the task's has {expected}", model.len());
            return Err(TrainError::Model(what));
        }
        if let Some(at) = model.iter().position(|value| !value.is_finite()) {
            return Err(TrainError::Model(format!("parameter {at} is {}", model[at])));
        }
        self.learner.load(model)
    }

    /// Trains the loaded model for the local epochs; the mean loss of the last one.
    pub(super) fn descend(
        &mut self,
        hyperparameters: &Hyperparameters,
        mut batches: Batches,
        control: &dyn Control,
    ) -> Result<f64, TrainError> {
        check(hyperparameters)?;
        self.learner.begin(hyperparameters, batches.seed())?;
        let total = self.rows()?.len() as u64;
        let epochs = u64::from(hyperparameters.local_epochs);
        let mut loss = 0.0;
        let (mut inputs, mut labels) = (Vec::new(), Vec::new());
        for epoch in 0..epochs {
            let (mut loss_sum, mut done) = (0.0, 0);
            for batch in batches.epoch().chunks(hyperparameters.batch_rows as usize) {
                if control.cancelled() {
                    return Err(TrainError::Cancelled);
                }
                gather(self.rows()?, batch, &mut inputs, &mut labels);
                loss_sum += self.learner.step(&inputs, &labels)?;
                done += batch.len() as u64;
                control.progress(epoch * total + done, epochs * total);
            }
            loss = mean(loss_sum, total);
        }
        Ok(loss)
    }

    /// What training changed since `model`; nothing where something is no longer finite.
    pub(super) fn update(&self, model: &[f32], loss: f64) -> Result<Option<Update>, TrainError> {
        let mut delta = self.stored()?;
        delta.iter_mut().zip(model).for_each(|(trained, before)| *trained -= before);
        let finite = loss.is_finite() && delta.iter().all(|change| change.is_finite());
        let rows = self.data.train.len() as u64;
        Ok(finite.then_some(Update { delta, rows, loss }))
    }

    pub(super) fn evaluate_held_out(&mut self) -> Result<Metrics, TrainError> {
        self.rows()?;
        let rows = match &self.standardised {
            Some(standardised) => &standardised.held_out,
            None => &self.data.held_out,
        };
        evaluate(self.learner.as_mut(), rows)
    }

    /// Evaluates rows that are not standardised yet.
    pub(super) fn evaluate(&mut self, rows: &Rows) -> Result<Metrics, TrainError> {
        self.rows()?;
        let rows = match &self.standardised {
            Some(seen) => Cow::Owned(standard::standardised(&self.task.schema, rows, &seen.by)),
            None => Cow::Borrowed(rows),
        };
        evaluate(self.learner.as_mut(), &rows)
    }
}

fn evaluate(learner: &mut dyn Learner, rows: &Rows) -> Result<Metrics, TrainError> {
    let mut metrics = Metrics::default();
    let inputs = rows.inputs().chunks(EVALUATED_AT_ONCE * rows.width());
    for (inputs, labels) in inputs.zip(rows.labels().chunks(EVALUATED_AT_ONCE)) {
        metrics += learner.evaluate(inputs, labels)?;
    }
    Ok(metrics)
}

/// The learner for a task's model.
fn learner(task: &Task, options: &Options) -> Result<Box<dyn Learner>, TrainError> {
    let inputs = InputShape::of(&task.schema).inputs();
    let classes = task.schema.class_count();
    match (&task.model, options.engine) {
        (ModelSpec::Softmax { .. }, Engine::Auto | Engine::Ndarray) => {
            Ok(Box::new(Linear::new(inputs, classes)))
        }
        (_, Engine::Ndarray) => Err(TrainError::Installation(
            "ndarray trains softmax regression only; set engine to auto or torch".to_owned(),
        )),
        _ => by_torch(task, options),
    }
}

#[cfg(feature = "torch")]
fn by_torch(task: &Task, options: &Options) -> Result<Box<dyn Learner>, TrainError> {
    crate::train::torch::learner(task, options)
}

#[cfg(not(feature = "torch"))]
fn by_torch(_task: &Task, _options: &Options) -> Result<Box<dyn Learner>, TrainError> {
    Err(TrainError::Installation(
        "this trainer was built without libtorch and trains softmax regression only; \
         build roundelay-client with --features torch"
            .to_owned(),
    ))
}

fn check(hyperparameters: &Hyperparameters) -> Result<(), TrainError> {
    let Hyperparameters { local_epochs, batch_rows, learning_rate, momentum, proximal } =
        *hyperparameters;
    let numbers = [learning_rate, momentum, proximal];
    if local_epochs == 0 || batch_rows == 0 {
        return Err(TrainError::Task("local_epochs and batch_rows are at least 1".to_owned()));
    }
    if numbers.iter().any(|number| !number.is_finite() || *number < 0.0) {
        let what = "learning_rate, momentum and proximal are finite and not negative";
        return Err(TrainError::Task(what.to_owned()));
    }
    Ok(())
}

fn gather(rows: &Rows, batch: &[u32], inputs: &mut Vec<f32>, labels: &mut Vec<u32>) {
    let width = rows.width();
    inputs.clear();
    labels.clear();
    for row in batch.iter().map(|row| *row as usize) {
        inputs.extend_from_slice(&rows.inputs()[row * width..(row + 1) * width]);
        labels.push(rows.labels()[row]);
    }
}

#[allow(clippy::cast_precision_loss, reason = "no client has 2^53 rows")]
fn mean(sum: f64, rows: u64) -> f64 {
    sum / rows as f64
}
