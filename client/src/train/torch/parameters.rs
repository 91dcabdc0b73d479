//! A model's parameters as views into one flat tensor.

use roundelay_protocol::model::ParameterSpec;
use tch::{Device, Kind, TchError, Tensor};

use super::memory;

/// One flat tensor, and each named parameter as a view of it: once plain, for updates, and once as
/// a leaf of the graph, for gradients. Both share the flat tensor's memory.
pub(super) struct Parameters {
    flat: Tensor,
    views: Vec<Tensor>,
    leaves: Vec<Tensor>,
}

impl Parameters {
    /// Zeros in the shapes of `specs`.
    pub(super) fn zeros(specs: &[ParameterSpec], device: Device) -> Result<Self, TchError> {
        let total = specs.iter().map(ParameterSpec::values).sum::<u64>();
        let flat = Tensor::f_zeros([signed(total)?], (Kind::Float, device))?;
        let mut views = Vec::with_capacity(specs.len());
        let mut offset = 0;
        for spec in specs {
            let shape: Vec<i64> = spec.shape.iter().map(|side| i64::from(*side)).collect();
            let length = signed(spec.values())?;
            views.push(flat.f_narrow(0, offset, length)?.f_view(shape.as_slice())?);
            offset += length;
        }
        let leaves = views
            .iter()
            .map(|view| view.f_detach()?.f_set_requires_grad(true))
            .collect::<Result<_, _>>()?;
        Ok(Self { flat, views, leaves })
    }

    /// The parameters of a module, which from now on live in one flat tensor and keep their values.
    pub(super) fn adopt(
        specs: &[ParameterSpec],
        mut module: Vec<Tensor>,
        device: Device,
    ) -> Result<Self, TchError> {
        let mut parameters = Self::zeros(specs, device)?;
        let _guard = tch::no_grad_guard();
        for (view, leaf) in parameters.views.iter_mut().zip(&mut module) {
            view.f_copy_(leaf)?;
            leaf.f_set_data(view)?;
            *leaf = leaf.f_set_requires_grad(true)?;
        }
        parameters.leaves = module;
        Ok(parameters)
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.flat.numel()
    }

    /// The leaves, in order.
    pub(super) fn leaves(&self) -> &[Tensor] {
        &self.leaves
    }

    /// The plain views, in order.
    pub(super) fn views(&self) -> &[Tensor] {
        &self.views
    }

    /// The plain views, to update.
    pub(super) fn views_mut(&mut self) -> &mut [Tensor] {
        &mut self.views
    }

    /// Takes a flat model: one copy.
    pub(super) fn load(&mut self, model: &[f32]) -> Result<(), TchError> {
        memory::copy_into(&mut self.flat, model)
    }

    /// Gives the flat model: one copy.
    pub(super) fn store(&self, model: &mut [f32]) -> Result<(), TchError> {
        self.flat.f_copy_data(model, self.flat.numel())
    }
}

fn signed(values: u64) -> Result<i64, TchError> {
    i64::try_from(values).map_err(|_| TchError::Shape(format!("{values} values")))
}
