//! The configuration file: where the coordinator listens, where its data lives, and every limit
//! with its unit, default and memory cost. `docs/samples/coordinator.toml` shows all keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use roundelay_protocol::enrol::is_address;
use serde::Deserialize;

mod limits;
mod rounds;
mod task;
mod toml_file;

pub use limits::Limits;
pub use rounds::Rounds;
pub use task::TaskFile;
pub use toml_file::{FileError, parse, read};

/// What a configuration file may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and UDP port to listen on. Default `127.0.0.1:4433`: this machine only.
    pub listen: SocketAddr,
    /// `host:port` under which clients reach the coordinator; enrolment tokens carry it. Default:
    /// the listening address, which then must be one that clients can connect to.
    pub address: Option<String>,
    /// `host:port` of another coordinator of the same installation, to which clients are sent when
    /// this one stops, such as the machine that it moves to. Default: they are asked to come back
    /// here.
    pub successor: Option<String>,
    /// Folder of the store, keys and blobs. Default `roundelay-data` in the working folder;
    /// `--data` has precedence.
    pub data: PathBuf,
    /// What is logged, as `level` or `target=level,...`. Default `info`; the variable
    /// `ROUNDELAY_LOG` has precedence.
    pub log: String,
    /// Life of an enrolment token in minutes, 1 to 1440. Default 15.
    pub token_minutes: u32,
    /// Life of a client's certificate in seconds, 6 to 604,800. Default 86,400 (24 hours). Clients
    /// renew at two thirds of it.
    pub certificate_seconds: u32,
    /// Bounds on what clients may take up.
    pub limits: Limits,
    /// When rounds are planned and how long they may take.
    pub rounds: Rounds,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4433)),
            address: None,
            successor: None,
            data: PathBuf::from("roundelay-data"),
            log: "info".to_owned(),
            token_minutes: 15,
            certificate_seconds: 86_400,
            limits: Limits::default(),
            rounds: Rounds::default(),
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// One line that says which file, line and key, and what to do.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let config: Self = read(path)?;
        config.check().map_err(|what| FileError::Value { path: path.to_owned(), what })?;
        Ok(config)
    }

    /// Life of a client's certificate.
    #[must_use]
    pub fn certificate_life(&self) -> Duration {
        Duration::from_secs(self.certificate_seconds.into())
    }

    fn check(&self) -> Result<(), String> {
        within("token_minutes", self.token_minutes, 1, 1440)?;
        within("certificate_seconds", self.certificate_seconds, 6, 604_800)?;
        let addresses = [("address", &self.address), ("successor", &self.successor)];
        for (key, address) in addresses {
            if let Some(wrong) = address.as_ref().filter(|address| !is_address(address)) {
                return Err(format!("`{key}` is {wrong:?}; it must read HOST:PORT, port above 0"));
            }
        }
        self.limits.check()?;
        self.rounds.check(&self.limits)
    }
}

fn within(key: &str, value: u32, min: u32, max: u32) -> Result<(), String> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("`{key}` is {value}; it must be between {min} and {max}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../docs/samples/coordinator.toml");

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let sample: Config = parse(Path::new("coordinator.toml"), SAMPLE).unwrap();
        let defaults = Config {
            address: Some("fl.example.org:4433".to_owned()),
            successor: Some("fl2.example.org:4433".to_owned()),
            ..Config::default()
        };
        assert_eq!(sample, defaults);
        assert_eq!(sample.check(), Ok(()));
        let shown = SAMPLE.lines().filter(|line| line.contains(" = ")).count();
        assert_eq!(
            shown,
            7 + limits::KEYS + rounds::KEYS,
            "a key is missing in the sample, or there twice"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_nearest_key() {
        let text = "listen = \"127.0.0.1:1\"\n\n[limits]\nupload_window_byte = 1\n";
        let error = parse::<Config>(Path::new("c.toml"), text).unwrap_err().to_string();
        let expected = "c.toml, line 4, column 1: unknown field `upload_window_byte`; did you mean \
                        `upload_window_bytes`?";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_value_out_of_range_names_its_key_and_range() {
        let config = Config { token_minutes: 0, ..Config::default() };
        let expected = "`token_minutes` is 0; it must be between 1 and 1440";
        assert_eq!(config.check(), Err(expected.to_owned()));
    }

    #[test]
    fn an_address_without_a_port_is_refused_when_it_is_configured() {
        let config = Config { address: Some("fl.example.org".to_owned()), ..Config::default() };
        let expected = "`address` is \"fl.example.org\"; it must read HOST:PORT, port above 0";
        assert_eq!(config.check(), Err(expected.to_owned()));
        let config = Config { successor: Some("fl2:0".to_owned()), ..Config::default() };
        assert!(config.check().unwrap_err().starts_with("`successor`"));
    }

    #[test]
    fn a_file_that_is_not_there_is_one_line() {
        let error = Config::read(Path::new("/nonexistent/c.toml")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/c.toml") && !error.contains('\n'), "{error}");
    }
}
