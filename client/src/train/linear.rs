//! Softmax regression by `ndarray`: the trainer that needs no libtorch. Mini-batch SGD with
//! momentum and FedProx's proximal term (Li et al. 2020, §3.2), in 32-bit floats.
//!
//! The flat model is the weights `[classes, inputs]`, row-major, then the biases `[classes]`.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use roundelay_protocol::manifest::Hyperparameters;

use super::{Learner, Metrics, TrainError};

/// Softmax regression over `inputs` inputs and `classes` classes.
pub struct Linear {
    inputs: usize,
    classes: usize,
    weights: Vec<f32>,
    gradient: Vec<f32>,
    velocity: Vec<f32>,
    anchor: Vec<f32>,
    hyperparameters: Hyperparameters,
}

impl Linear {
    /// A model of zeros.
    #[must_use]
    pub fn new(inputs: usize, classes: usize) -> Self {
        let zeros = vec![0.0; classes * (inputs + 1)];
        Self {
            inputs,
            classes,
            weights: zeros.clone(),
            gradient: zeros.clone(),
            velocity: zeros.clone(),
            anchor: zeros,
            hyperparameters: Hyperparameters {
                local_epochs: 1,
                batch_rows: 1,
                learning_rate: 0.0,
                momentum: 0.0,
                proximal: 0.0,
            },
        }
    }

    /// Class scores of each row, `[rows, classes]`.
    fn scores(&self, inputs: ArrayView2<'_, f32>) -> Array2<f32> {
        let (weights, biases) = self.weights.split_at(self.classes * self.inputs);
        let weights = matrix(weights, self.classes, self.inputs);
        let mut scores = Array2::zeros((inputs.nrows(), self.classes));
        for mut row in scores.rows_mut() {
            row.iter_mut().zip(biases).for_each(|(score, bias)| *score = *bias);
        }
        general_mat_mul(1.0, &inputs, &weights.t(), 1.0, &mut scores);
        scores
    }

    /// The gradient of the mean loss into `self.gradient`; returns the sum of losses.
    fn differentiate(&mut self, inputs: &[f32], labels: &[u32]) -> f64 {
        let inputs = matrix(inputs, labels.len(), self.inputs);
        let mut errors = self.scores(inputs);
        let mut loss_sum = 0.0;
        for (mut row, label) in errors.rows_mut().into_iter().zip(labels) {
            loss_sum += softmax(row.as_slice_mut().expect("rows of a fresh array"), *label);
            row[*label as usize] -= 1.0;
        }
        let (weights, biases) = self.gradient.split_at_mut(self.classes * self.inputs);
        let scale = 1.0 / count(labels.len());
        let mut weights = matrix_mut(weights, self.classes, self.inputs);
        general_mat_mul(scale, &errors.t(), &inputs, 0.0, &mut weights);
        biases.fill(0.0);
        for row in errors.rows() {
            biases.iter_mut().zip(row).for_each(|(bias, error)| *bias += scale * error);
        }
        loss_sum
    }

    fn descend(&mut self) {
        let Hyperparameters { learning_rate, momentum, proximal, .. } = self.hyperparameters;
        if proximal != 0.0 {
            let moved = self.weights.iter().zip(&self.anchor);
            for (gradient, (weight, anchor)) in self.gradient.iter_mut().zip(moved) {
                *gradient += proximal * (weight - anchor);
            }
        }
        if momentum != 0.0 {
            for (velocity, gradient) in self.velocity.iter_mut().zip(&mut self.gradient) {
                *velocity = momentum * *velocity + *gradient;
                *gradient = *velocity;
            }
        }
        for (weight, gradient) in self.weights.iter_mut().zip(&self.gradient) {
            *weight -= learning_rate * gradient;
        }
    }
}

impl Learner for Linear {
    fn parameters(&self) -> usize {
        self.weights.len()
    }

    fn load(&mut self, model: &[f32]) -> Result<(), TrainError> {
        self.weights.copy_from_slice(model);
        Ok(())
    }

    fn store(&self, model: &mut [f32]) -> Result<(), TrainError> {
        model.copy_from_slice(&self.weights);
        Ok(())
    }

    fn begin(&mut self, hyperparameters: &Hyperparameters, _seed: u64) -> Result<(), TrainError> {
        self.hyperparameters = *hyperparameters;
        self.anchor.copy_from_slice(&self.weights);
        self.velocity.fill(0.0);
        Ok(())
    }

    fn step(&mut self, inputs: &[f32], labels: &[u32]) -> Result<f64, TrainError> {
        let loss_sum = self.differentiate(inputs, labels);
        self.descend();
        Ok(loss_sum)
    }

    fn evaluate(&mut self, inputs: &[f32], labels: &[u32]) -> Result<Metrics, TrainError> {
        let mut scores = self.scores(matrix(inputs, labels.len(), self.inputs));
        let mut metrics = Metrics { rows: labels.len() as u64, ..Metrics::default() };
        for (mut row, label) in scores.rows_mut().into_iter().zip(labels) {
            let row = row.as_slice_mut().expect("rows of a fresh array");
            metrics.correct += u64::from(most_likely(row) == *label as usize);
            metrics.loss_sum += softmax(row, *label);
        }
        Ok(metrics)
    }
}

fn matrix(values: &[f32], rows: usize, columns: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, columns), values).expect("the caller's rows have this width")
}

fn matrix_mut(values: &mut [f32], rows: usize, columns: usize) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((rows, columns), values).expect("the caller's rows have this width")
}

#[allow(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^24 rows")]
fn count(rows: usize) -> f32 {
    rows as f32
}

/// The first of the largest scores.
fn most_likely(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

/// Turns scores into probabilities and returns the cross-entropy of the row's own class.
fn softmax(scores: &mut [f32], label: u32) -> f64 {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let own = scores[label as usize] - largest;
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
    f64::from(sum).ln() - f64::from(own)
}
