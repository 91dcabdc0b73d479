//! Round machines: pure, total, driven from outside.
//!
//! Both halves of a round have one entry, `handle(now, input, .., actions)`; the client's takes its
//! federation's history as well, which outlives the round. It never panics and has no `Err` for a
//! peer's fault. What all drivers do alike:
//!
//! 1. Actions are carried out **in order**. What `Persist` and `Audit` carry is durable before a
//!    later message leaves.
//! 2. Heavy work is data: a machine emits a plan (which seeds, which signs, which survivors), the
//!    driver runs it with the bulk kernels on a thread pool, and the result comes back as an input.
//! 3. `SetDeadline` replaces the deadline before it. When it has passed the driver inputs
//!    `Deadline`; a stale one is recognised by `now` and ignored.
//! 4. After `Finish` the machine takes no more input.
//!
//! The halves' own documentation says the rest: [`horizontal::client`], [`horizontal::coordinator`].
//! Three drivers run them: `pair` in this crate, the simulator, and QUIC.

pub mod horizontal;
