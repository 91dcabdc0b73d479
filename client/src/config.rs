//! `client.toml`: where the tenant's data lies and how it is trained on. `docs/samples/client.toml`
//! shows all keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundelay_program::file::read_text;
use roundelay_protocol::enrol::is_address;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::manifest::Manifest;
use roundelay_protocol::suggestion::with_suggestion;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::data::{Source, check_data_set};
use crate::train::process::TrainerProcess;
use crate::train::{Device, Engine, Options, TrainError, Trainer};

/// Bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a configuration was refused: one line that says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("{}: {why}; name one that can be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        why: String,
    },
    /// It is not TOML, lacks a key, or has one that does not exist.
    #[error("{}, line {line}, column {column}: {what}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// A value is out of range.
    #[error("{}: {what}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value, and what it may be.
        what: String,
    },
    /// Nothing says where the data is.
    #[error(
        "nothing says where the data is: write `[data]` with `path = \"…\"` into {}, or give \
         --data PATH",
        .0.display()
    )]
    NoData(PathBuf),
}

/// What a configuration file may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `host:port` of the coordinator, in place of the one of enrolment. Its authority stays
    /// pinned.
    pub coordinator: Option<String>,
    /// What is logged, as `level` or `target=level,…`. The variable `ROUNDELAY_LOG` has precedence.
    pub log: Option<String>,
    /// Hours that the coordinator may say nothing about a round, as while others train, before its
    /// keys are burned. Default: 192, longer than a coordinator can wait.
    pub patience_hours: Option<u16>,
    /// The data of every federation that has no section of its own.
    pub data: Option<Source>,
    /// How it is trained on.
    pub trainer: TrainerConfig,
    /// Sections of single federations, by name or id.
    pub federations: BTreeMap<String, FederationConfig>,
}

/// How the trainer works.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainerConfig {
    /// The program. Default: `roundelay-trainer` beside this program.
    pub program: Option<PathBuf>,
    /// What computes the model: `auto`, `ndarray` or `torch`.
    pub engine: Engine,
    /// Where libtorch computes: `auto`, `cpu` or a GPU.
    pub device: Device,
    /// Threads that one trainer computes with.
    pub threads: u16,
    /// Seed of the order of batches.
    pub seed: u64,
    /// The TorchScript module's file, for tasks that name one.
    pub module: Option<PathBuf>,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        let options = Options::new(Source::new(""));
        Self {
            program: None,
            engine: options.engine,
            device: options.device,
            threads: options.threads,
            seed: options.seed,
            module: None,
        }
    }
}

/// What is different for one federation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationConfig {
    /// Its data.
    pub data: Source,
    /// The TorchScript module's file, for a task that names one.
    #[serde(default)]
    pub module: Option<PathBuf>,
}

impl Config {
    /// Reads a file; paths in it are relative to its folder.
    ///
    /// # Errors
    /// One line that says which file, line and key, and what to do.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |why: String| ConfigError::Unreadable { path: path.to_owned(), why };
        let text =
            read_text(path, FILE_BYTES_MAX).map_err(|error| unreadable(error.to_string()))?;
        let mut config: Self = parse(path, &text)?;
        config.check().map_err(|what| ConfigError::Value { path: path.to_owned(), what })?;
        config.resolve(path.parent().unwrap_or_else(|| Path::new("")));
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.patience_hours == Some(0) {
            return Err("`patience_hours` is 0; it must be at least 1".to_owned());
        }
        if let Some(wrong) = self.coordinator.as_ref().filter(|address| !is_address(address)) {
            return Err(format!(
                "`coordinator` is {wrong:?}; it must read HOST:PORT, port above 0"
            ));
        }
        if self.trainer.threads == 0 {
            return Err("`trainer.threads` is 0; it must be at least 1".to_owned());
        }
        let sources = self.federations.values().map(|it| &it.data).chain(&self.data);
        sources.into_iter().try_for_each(|Source { held_out_percent, data_set, .. }| {
            if *held_out_percent >= 100 {
                let what = "it must be between 0 and 99";
                return Err(format!("`held_out_percent` is {held_out_percent}; {what}"));
            }
            check_data_set(data_set).map_err(|what| format!("`data_set`: {what}"))
        })
    }

    fn resolve(&mut self, folder: &Path) {
        let mut paths: Vec<&mut PathBuf> = Vec::new();
        paths.extend(self.data.as_mut().map(|data| &mut data.path));
        paths.extend(self.trainer.program.as_mut());
        paths.extend(self.trainer.module.as_mut());
        for federation in self.federations.values_mut() {
            paths.push(&mut federation.data.path);
            paths.extend(federation.module.as_mut());
        }
        for path in paths {
            *path = folder.join(&path);
        }
    }

    /// The trainer of a federation: a child process that reads this tenant's data. `known` are the
    /// federations whose manifests this tenant has signed.
    ///
    /// # Errors
    /// Nothing says where the data is, a section that may be meant for this federation bears the
    /// name of none, or this program does not know where it is installed.
    pub fn trainer(
        &self,
        manifest: &Manifest,
        known: &[Named],
        file: &Path,
    ) -> Result<Box<dyn Trainer>, TrainError> {
        let id = manifest.federation.to_string();
        let name: &str = &manifest.name;
        let own = self.federations.get(&id).or_else(|| self.federations.get(name));
        if own.is_none()
            && let Some(stray) = self.stray(known)
        {
            // The rows of `[data]` may be another federation's: ask first.
            return Err(TrainError::Installation(format!(
                "{}: `[federations.{stray}]` bears the name of no federation that was signed here, \
                 and `{name}` has no section; correct the name, sign that federation first, or \
                 take the section out",
                file.display()
            )));
        }
        let data = own.map(|own| &own.data).or(self.data.as_ref());
        let data = data.ok_or_else(|| {
            TrainError::Installation(ConfigError::NoData(file.to_owned()).to_string())
        })?;
        let TrainerConfig { program, engine, device, threads, seed, module } = &self.trainer;
        let module = own.and_then(|own| own.module.clone()).or_else(|| module.clone());
        let options = Options {
            data: data.clone(),
            seed: *seed,
            engine: *engine,
            threads: *threads,
            device: *device,
            module,
        };
        Ok(Box::new(match program {
            Some(program) => TrainerProcess::new(program, options),
            None => TrainerProcess::beside_this_program(options)?,
        }))
    }
}

impl Config {
    /// A section of a federation that nobody knows.
    fn stray(&self, known: &[Named]) -> Option<&str> {
        let bears = |section: &str| {
            known.iter().any(|(id, name)| name == section || id.to_string() == section)
        };
        self.federations.keys().map(String::as_str).find(|section| !bears(section))
    }
}

/// A federation and its name.
pub type Named = (FederationId, String);

/// Parses the text of a file; `path` is for the error.
fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        ConfigError::Syntax {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: with_suggestion(&error.message().replace('\n', " ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../docs/samples/client.toml");

    fn refused(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        std::fs::write(&path, text).unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn the_sample_shows_every_key() {
        let sample: Config = parse(Path::new("client.toml"), SAMPLE).unwrap();
        assert_eq!(sample.check(), Ok(()));
        assert_eq!(sample.trainer.threads, 1);
        assert_eq!(sample.federations.len(), 1);
        let keys = [
            "coordinator",
            "log",
            "patience_hours",
            "path",
            "held_out_percent",
            "program",
            "engine",
            "device",
            "threads",
            "seed",
            "module",
        ];
        for key in keys {
            let shown = SAMPLE.lines().any(|line| {
                let line = line.trim_start_matches(['#', ' ']);
                line.starts_with(&format!("{key} = "))
            });
            assert!(shown, "{key}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_nearest_key() {
        let error = refused("[data]\npath = \"x\"\n\n[trainer]\nthread = 1\n");
        let expected = "client.toml, line 5, column 1: unknown field `thread`; did you mean \
                        `threads`?";
        assert!(error.ends_with(expected), "{error}");
    }

    #[test]
    fn values_out_of_range_and_broken_toml_are_one_line_each() {
        let cases = [
            ("[data]\npath = \"x\"\nheld_out_percent = 100", "between 0 and 99"),
            ("[trainer]\nthreads = 0", "at least 1"),
            ("patience_hours = 0", "`patience_hours` is 0"),
            ("[trainer]\nengine = \"gpu\"", "unknown variant `gpu`"),
            ("[data", "line 1"),
            ("data = 3", "line 1"),
        ];
        for (text, words) in cases {
            let error = refused(text);
            assert!(error.contains(words), "{error}\nlacks: {words}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_folder_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        std::fs::write(&path, "[data]\npath = \"rows.csv\"\n[trainer]\nmodule = \"/m.pt\"")
            .unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(config.data.unwrap().path, dir.path().join("rows.csv"));
        assert_eq!(config.trainer.module.unwrap(), Path::new("/m.pt"));
    }

    #[test]
    fn a_file_that_is_not_there_is_one_line() {
        let error = Config::read(Path::new("/nonexistent/c.toml")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/c.toml") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_section_of_no_known_federation_keeps_a_federation_from_training_on_the_wrong_rows() {
        let manifest = crate::engine::tests::world::manifest_of(3);
        let own = (manifest.federation, manifest.name.clone());
        let other = (FederationId([9; 16]), "other".to_owned());
        let file = Path::new("client.toml");
        let trainer = |section: &str, known: &[Named]| {
            let text = format!(
                "[data]\npath = \"x\"\n[trainer]\nprogram = \"t\"\n[federations.{section}]\n\
                 data = {{ path = \"y\" }}\n"
            );
            let config: Config = parse(file, &text).unwrap();
            config.trainer(&manifest, known, file).map(|_| ()).map_err(|error| error.to_string())
        };
        let both = [own.clone(), other.clone()];
        assert_eq!(trainer("digits", &both), Ok(()));
        assert_eq!(trainer("other", &both), Ok(()), "the other one's own rows");
        let error = trainer("tets", &both).unwrap_err();
        assert!(error.contains("[federations.tets]") && error.contains("`digits`"), "{error}");
        assert!(trainer("other", &[own]).is_err(), "nobody knows who that is");
        assert_eq!(trainer(&format!("\"{}\"", other.0), &both), Ok(()));
    }
}
