//! Every bound on what may come from outside, in one place.

/// A frame before the peer is authenticated, in bytes.
pub const FRAME_BYTES_PREAUTH_MAX: usize = 4 << 10;
/// A control frame, in bytes: the training plan of the largest cohort, with a signature of everyone.
pub const FRAME_BYTES_MAX: usize = 128 << 10;
/// One item of a roster stream, in bytes.
pub const ROSTER_ITEM_BYTES_MAX: usize = 4 << 10;
/// A chunk of a vector with its check lanes, in bytes.
pub const CHUNK_BYTES_MAX: usize = (1 << 20) + 64;
/// Clients in one cohort, of a sparse graph.
pub const COHORT_MAX: usize = 1024;
/// Clients in one cohort of a complete graph.
pub const COMPLETE_COHORT_MAX: usize = 512;
/// Bytes of a box: two shares of 32 bytes and the tag of AES-256-GCM.
pub const SEALED_SHARES_BYTES: usize = 32 + 32 + 16;
/// Parameters of a model.
pub const PARAMETERS_MAX: u64 = 1 << 31;
/// Segments in a layout.
pub const SEGMENTS_MAX: usize = 64;
/// Signatures under one state that travel together: more than the colluding clients that any
/// cohort can bear, and one.
pub const ATTESTATIONS_MAX: usize = 512;
/// Members of a federation.
pub const MEMBERS_MAX: usize = 512;
/// Bytes of a signed manifest.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Bytes of those for signatures: of each member before and after an amendment, name and all.
pub const MANIFEST_SIGNATURES_BYTES: usize = 2 * MEMBERS_MAX * (8 + 63 + 64);
/// Bytes of an upload, check lanes included.
pub const UPLOAD_BYTES_MAX: u64 = 1 << 34;
/// Bytes of a name in a schema or a model.
pub const NAME_BYTES_MAX: usize = 128;
/// Feature columns of a table.
pub const COLUMNS_MAX: usize = 1 << 16;
/// Inputs of a model after one-hot encoding.
pub const FEATURES_MAX: u64 = 1 << 24;
/// Classes of a task.
pub const CLASSES_MAX: usize = 1 << 16;
/// Named parameters of a model.
pub const PARAMETER_NAMES_MAX: usize = 4096;
