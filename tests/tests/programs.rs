//! The programs as people and other programs meet them: the README's lines, verbs and their help,
//! errors.

#[path = "programs/errors.rs"]
mod errors;
#[path = "programs/failpoints.rs"]
mod failpoints;
#[path = "programs/page.rs"]
mod page;
#[path = "programs/pipes.rs"]
mod pipes;
#[path = "programs/readme.rs"]
mod readme;
#[path = "programs/verbs.rs"]
mod verbs;
