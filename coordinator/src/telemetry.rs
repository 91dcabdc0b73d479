//! Logs: one line per event on standard error, as text or as JSON. Standard output belongs to what
//! a verb answers.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable that sets what is logged, ahead of the configuration.
pub const VARIABLE: &str = "ROUNDELAY_LOG";

/// A filter that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: `{filter}` is not a log filter: {why}; write a level, or target=level,...")]
pub struct BadFilter {
    origin: &'static str,
    filter: String,
    why: String,
}

/// Starts logging for this process. A second call changes nothing.
pub fn start(configured: &str, json: bool) -> Result<(), BadFilter> {
    let variable = std::env::var(VARIABLE).ok();
    let (origin, filter) = match &variable {
        Some(filter) => (VARIABLE, filter.as_str()),
        None => ("log", configured),
    };
    let filter = filter_of(origin, filter)?;
    let (writer, ansi) = (io::stderr, roundelay_program::answer::paints());
    let text = (!json).then(|| layer().with_target(false).with_ansi(ansi).with_writer(writer));
    let lines = json.then(|| layer().json().with_writer(writer));
    // An error says that logging was started before.
    let _ = tracing_subscriber::registry().with(filter).with(text).with(lines).try_init();
    Ok(())
}

/// Where standard error is gone there is nobody to tell so: that would panic.
fn layer<S>() -> tracing_subscriber::fmt::Layer<S> {
    tracing_subscriber::fmt::Layer::default().log_internal_errors(false)
}

fn filter_of(origin: &'static str, filter: &str) -> Result<EnvFilter, BadFilter> {
    let checked = roundelay_program::log::check_filter(filter);
    let parsed = checked.and_then(|()| EnvFilter::try_new(filter).map_err(|why| why.to_string()));
    parsed.map_err(|why| BadFilter { origin, filter: filter.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_is_named_with_its_origin() {
        assert!(filter_of("log", "info,quinn=warn").is_ok());
        let error = filter_of("log", "quinn=loud").err().unwrap().to_string();
        assert!(error.contains("log: `quinn=loud`"), "{error}");
        let error = filter_of("log", "loud").err().unwrap().to_string();
        assert!(error.contains("`loud` is no level"), "{error}");
    }
}
