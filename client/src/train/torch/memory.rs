//! Flat vectors into tensors at memory speed: the one place that hands libtorch a pointer.
//!
//! The safe way, `Tensor::from_slice`, makes a tensor of its own first: one more copy of the model
//! and the pages for it.
#![allow(unsafe_code, reason = "Tensor::from_blob takes a raw pointer; see the SAFETY comment")]

use tch::{Device, Kind, TchError, Tensor};

/// Copies `values` into `tensor`, which has as many.
pub(super) fn copy_into(tensor: &mut Tensor, values: &[f32]) -> Result<(), TchError> {
    if values.len() != tensor.numel() {
        let what = format!("{} values for {} parameters", values.len(), tensor.numel());
        return Err(TchError::Shape(what));
    }
    let (data, size) = (values.as_ptr().cast(), tensor.size());
    // SAFETY: `data` points to `values.len()` initialised, aligned f32, as many as `size` asks for,
    // and they outlive `source`, which does not leave this function; it is only read, by a copy
    // that has ended when `f_copy_` returns (from pageable host memory it is synchronous).
    let source = unsafe { Tensor::f_from_blob(data, &size, &[], Kind::Float, Device::Cpu) }?;
    let _guard = tch::no_grad_guard();
    tensor.f_copy_(&source)
}
