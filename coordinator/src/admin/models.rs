//! Verbs about models: listing versions, and safetensors files out and in. A file names every
//! parameter with its shape, in the order of the flat vector.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use roundelay_program::file::read;
use roundelay_protocol::lineage::Head;
use roundelay_protocol::manifest::Task;
use roundelay_protocol::model::ParameterSpec;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};

use super::export_file::{self, ExportFile};
use super::views::last_of;
use super::{Admin, AdminError, Answer, Kind, ModelView};
use crate::clock::now_unix_ms;
use crate::federations::Located;
use crate::server::driver::states::{self, ReadError};
use crate::store::{AuditEvent, AuditRecord, Model, StoreError, Write};

/// Bytes of the header of a safetensors file.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// Bytes of values that are written at a time.
const PIECE_BYTES: usize = 1 << 20;

impl Admin {
    pub(super) async fn models(&self, name: &str, last: Option<u32>) -> Result<Answer, AdminError> {
        let located = self.installation.federations.find(name).await?;
        let rows = self.installation.federations.rows(&located);
        let models = rows.models(located.federation.federation).await?;
        Ok(Answer::Models(last_of(&models, last).iter().map(ModelView::from).collect()))
    }

    pub(super) async fn export(
        &self,
        name: &str,
        version: Option<u64>,
        to: &Path,
    ) -> Result<Answer, AdminError> {
        export_file::check(to)?;
        let located = self.installation.federations.find(name).await?;
        let rows = self.installation.federations.rows(&located);
        let models = rows.models(located.federation.federation).await?;
        let kept = kept(&models);
        let model = pick(models, name, version)?;
        let task = self.task(&located).await?;
        let gone = || pruned(name, model.version.0, kept);
        let federation = located.federation.federation;
        let shelf = self.installation.blobs.shelf(&located.owner, federation);
        let (head, reader) = match states::open(&shelf, &task, model.blob.ok_or_else(gone)?).await {
            Err(ReadError::Store(error @ StoreError::NoSuchBlob { .. })) => {
                let now = rows.models(federation).await?;
                let listed =
                    now.iter().any(|now| now.version == model.version && now.blob.is_some());
                // Else it was pruned while this verb looked.
                return Err(if listed { lost(&error) } else { gone() });
            }
            Err(ReadError::Store(error)) => return Err(error.into()),
            Err(ReadError::State(error)) => {
                return Err(AdminError::new(Kind::Damaged, "corrupt", error));
            }
            Ok(opened) => opened,
        };
        let mut file = ExportFile::create(to)?;
        file.push(&header(&task, &metadata(&located, &model, &head))?)?;
        let mut values = reader.from(head.vector_start(0));
        let mut left = head.vector_start(1) - head.vector_start(0);
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            file.push(&values.exactly(piece).await?)?;
            left -= piece as u64;
        }
        let bytes = file.finish()?;
        let version = model.version;
        let federation = Some(federation);
        let event = AuditEvent::ModelExported { version };
        let record = AuditRecord { unix_ms: now_unix_ms(), federation, round: None, event };
        let to_log = vec![located.owner.clone()];
        let audit = Write::Audit { to: to_log, record: Box::new(record) };
        rows.transact("export", None, vec![audit]).await?;
        Ok(Answer::Exported { version: version.0, file: to.to_owned(), bytes })
    }

    /// The parameters of a TorchScript module from a safetensors file, checked by name and shape.
    pub(super) async fn initial_parameters(
        &self,
        located: &Located,
        file: &Path,
    ) -> Result<Vec<f32>, AdminError> {
        let task = self.task(located).await?;
        let invalid = |what: String| {
            let message = format!("{}: {what}", file.display());
            AdminError::new(Kind::Invalid, "bad_parameters", message)
        };
        let specs = parameters(&task)?;
        let values: u64 = specs.iter().map(ParameterSpec::values).sum();
        let bytes_max = 4 * values + HEADER_BYTES_MAX;
        let bytes = read(file, bytes_max).map_err(|error| invalid(error.to_string()))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| invalid(error.to_string()))?;
        let mut flat = Vec::new();
        for spec in specs {
            let tensor = tensors.tensor(&spec.name).map_err(|error| invalid(error.to_string()))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != shape(&spec) {
                let what = format!("`{}` is not 32-bit floats of {:?}", spec.name, spec.shape);
                return Err(invalid(what));
            }
            let words = tensor.data().as_chunks().0;
            flat.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        }
        Ok(flat)
    }

    async fn task(&self, located: &Located) -> Result<Task, AdminError> {
        let (signed, _) = self.installation.federations.standing(located).await?;
        Ok(signed.manifest.task)
    }
}

fn pick(models: Vec<Model>, name: &str, version: Option<u64>) -> Result<Model, AdminError> {
    let newest = models.last().map(|model| model.version.0);
    let kept = kept(&models);
    let wanted = |model: &Model| version.is_none_or(|version| model.version.0 == version);
    models.into_iter().rfind(wanted).ok_or_else(|| match version {
        // Its row is gone too.
        Some(version) if newest.is_some_and(|newest| version < newest) => {
            pruned(name, version, kept)
        }
        Some(version) => unknown(format!(
            "federation `{name}` has no model version {version}; `model list {name}` shows which"
        )),
        None => unknown(format!(
            "federation `{name}` has no model yet; `federation status {name}` says what it waits for"
        )),
    })
}

/// Versions after version 0 that can be exported.
fn kept(models: &[Model]) -> usize {
    models.iter().filter(|model| model.blob.is_some() && model.version.0 > 0).count()
}

fn unknown(message: String) -> AdminError {
    AdminError::new(Kind::NotFound, "unknown_model", message)
}

fn pruned(name: &str, version: u64, kept: usize) -> AdminError {
    let message = format!(
        "version {version} of federation `{name}` was pruned; the coordinator keeps version 0 and \
         the newest {kept}, see `rounds.versions_kept` in coordinator.toml"
    );
    AdminError::new(Kind::NotFound, "pruned_model", message)
}

/// The store lists a state whose blob is not there.
fn lost(error: &StoreError) -> AdminError {
    let message =
        format!("{error}, though the store lists it; restore the data folder from a backup");
    AdminError::new(Kind::Damaged, "corrupt", message)
}

fn parameters(task: &Task) -> Result<Vec<ParameterSpec>, AdminError> {
    let named = task.model.parameters(&task.schema);
    named.map_err(|error| AdminError::new(Kind::Damaged, "corrupt", error))
}

fn shape(spec: &ParameterSpec) -> Vec<usize> {
    spec.shape.iter().map(|side| *side as usize).collect()
}

/// What a file says about where it came from and, for tables that are standardised, the
/// `standardisation` without which the model can't be used.
fn metadata(located: &Located, model: &Model, head: &Head) -> BTreeMap<String, String> {
    let facts = [
        ("federation", located.federation.federation.to_string()),
        ("name", located.federation.name.clone()),
        ("version", model.version.to_string()),
        ("state", model.state.to_string()),
        ("transcript", model.transcript.map(|root| root.to_string()).unwrap_or_default()),
    ];
    let named = facts.into_iter().map(|(key, value)| (format!("roundelay.{key}"), value));
    let standardisation = head.standardisation().and_then(|by| serde_json::to_string(by).ok());
    named.chain(standardisation.map(|text| ("standardisation".to_owned(), text))).collect()
}

/// All of a safetensors file before its values, which are those of the flat vector in its order: the
/// length of what follows as u64, and where each parameter lies, as JSON, filled up with spaces to a
/// multiple of 8 bytes.
fn header(task: &Task, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, AdminError> {
    let failed = |error: &dyn Display| AdminError::new(Kind::Internal, "export", error);
    let (mut tensors, mut start) = (Vec::new(), 0);
    for spec in parameters(task)? {
        let end = start + usize::try_from(spec.values() * 4).unwrap_or(usize::MAX);
        let (dtype, shape, data_offsets) = (Dtype::F32, shape(&spec), (start, end));
        tensors.push((spec.name, TensorInfo { dtype, shape, data_offsets }));
        start = end;
    }
    let listed = Metadata::new(None, tensors).map_err(|error| failed(&error))?;
    let listed = serde_json::to_string(&listed).map_err(|error| failed(&error))?;
    let metadata = serde_json::to_string(metadata).map_err(|error| failed(&error))?;
    // The library keeps metadata in no order, and the same version is to give the same file.
    let tensors = listed.strip_prefix('{').unwrap_or_default();
    let mut json = format!("{{\"__metadata__\":{metadata},{tensors}").into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok([&(json.len() as u64).to_le_bytes(), json.as_slice()].concat())
}
