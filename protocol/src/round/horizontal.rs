//! One horizontal round: secure aggregation after Bonawitz et al. 2017 (malicious model, with the
//! consistency round), made post-quantum and prepared ahead.
//!
//! ```text
//!                coordinator                                client
//! AdvertiseKeys      RosterPlan ──────────────────────────▶ checks cohort and floors
//!                             ◀────────────────────────── Advert (signed)
//!   sparse:          Listing ─────────────────────────────▶ own advert and commitment in it?
//!                             ◀────────────────────────── Nonce
//!                    Beacon ──────────────────────────────▶ own nonce in it, all as committed?
//! ShareKeys          Adverts ─────────────────────────────▶ verifies all, own unaltered
//!                             ◀────────────────────────── Shares (one leaf per neighbour)
//!                    Boxes ───────────────────────────────▶ opens all
//!                             ◀────────────────────────── Opened (signed), or an accusation
//! Prepared           … until round r − 1 is published …
//! MaskedInput        TrainingPlan ────────────────────────▶ ≥ q have opened? trains, masks, stores
//!                             ◀────────────────────────── vector (raw), InputCommit
//! ConsistencyCheck   SurvivorSet ─────────────────────────▶ in it with my root? large enough?
//!                             ◀────────────────────────── SurvivorSignature (one per round, ever)
//! Unmasking          Quorum ──────────────────────────────▶ ≥ q signatures over the same bytes?
//!                             ◀────────────────────────── Reveal
//!                    Published, aggregate (raw) ──────────▶ recomputes the model
//! ```
//! The lines marked sparse are those of a cohort above 512 clients under a manifest that takes the
//! coordinator for semi-honest: the graph is drawn from all nonces, and adverts, boxes and shares go
//! to neighbours alone.
//!
//! U1: the planned cohort; U2 ⊆ U1: those whose ShareKeys arrived; A ⊆ U2: the active roster;
//! U3 ⊆ A: those whose masked input is complete.

pub mod client;
pub mod coordinator;
mod keys;
mod neighbours;
pub mod terms;

#[cfg(test)]
mod dealing_tests;
