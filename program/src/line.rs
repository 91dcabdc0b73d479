//! A line on standard output or standard error. A reader may go away before the last line, as `head`
//! does: that is no error, and a program goes on without one to its end and its exit status. A disk
//! that is full is one: the program goes on too, since it may have more to do than to speak, and
//! fails in the end ([`finished`]), since what it was asked for is not there.
//!
//! `println!` would panic in both cases. This file uses the standard library alone: xtask, which
//! imports none of our crates, includes it.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

/// [`out`] of words given as to `format!`.
#[macro_export]
macro_rules! out {
    ($($words:tt)+) => { $crate::line::out(format_args!($($words)+)) };
}

/// [`err`] of words given as to `format!`.
#[macro_export]
macro_rules! note {
    ($($words:tt)+) => { $crate::line::err(format_args!($($words)+)) };
}

/// Why a line of this process could not be written, if one could not.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Writes a line to standard output.
pub fn out(line: Arguments<'_>) {
    keep(written(&mut io::stdout().lock(), line));
}

/// Remembers for [`finished`] that something on standard output is lost.
pub fn keep(written: io::Result<()>) {
    if let Err(error) = present(written) {
        // The first reason is the one that is told.
        let _ = LOST.set(error);
    }
}

/// How a program ends that would end so: it fails where a line on standard output is lost.
#[must_use]
pub fn finished(otherwise: ExitCode) -> ExitCode {
    let Some(error) = LOST.get() else { return otherwise };
    err(format_args!("error: standard output: {error}"));
    ExitCode::FAILURE
}

/// Writes a line to standard error. Where even that fails, such as a log on the disk that is full,
/// there is nobody to tell and the exit status has to do.
pub fn err(line: Arguments<'_>) {
    let _ = written(&mut io::stderr().lock(), line);
}

fn written(to: &mut impl Write, line: Arguments<'_>) -> io::Result<()> {
    present(writeln!(to, "{line}").and_then(|()| to.flush()))
}

/// A reader that has gone away is no error.
fn present(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_gone_is_no_error_and_a_full_disk_is_one() {
        assert!(written(&mut Fails(ErrorKind::BrokenPipe), format_args!("x")).is_ok());
        assert!(written(&mut Fails(ErrorKind::StorageFull), format_args!("x")).is_err());
        let mut line = Vec::new();
        written(&mut line, format_args!("{} {}", 1, 2)).unwrap();
        assert_eq!(line, b"1 2\n");
    }
}
