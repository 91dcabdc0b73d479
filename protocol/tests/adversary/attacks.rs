//! Attacks as a whole. Each is first carried out against a weakened variant, written here, that
//! lacks the one thing that stops it, and succeeds; then against the real machines, or the numbers
//! that they go by, and fails.

#[path = "attacks/differences.rs"]
mod differences;
#[path = "attacks/graph.rs"]
mod graph;
#[path = "attacks/keys.rs"]
mod keys;
#[path = "attacks/models.rs"]
mod models;
#[path = "attacks/partition.rs"]
mod partition;
#[path = "attacks/replicas.rs"]
mod replicas;
#[path = "attacks/weak.rs"]
mod weak;
