//! The demo from its options to its last line.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use roundelay_program::{Output, note, out};
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::layout::Layout;
use roundelay_protocol::manifest::Task;
use roundelay_protocol::plain::counted;
use roundelay_protocol::plan::PlanKind;
use roundelay_simulations::partition::dirichlet_by_label;
use serde_json::Value;

use super::baseline::Baseline;
use super::data::DataSet;
use super::federation::Federation;
use super::model::Exported;
use super::options::Options;
use super::report::{Report, Round, Tenant};
use super::task::{task_of, task_toml};
use super::view::{self, Tap, Upload};
use crate::harness::{Programs, digits_file};

/// Rows that every tenant gets at least.
const ROWS_MIN: usize = 20;

const NAMES: [&str; 10] =
    ["acorn", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hazel", "ironwood", "juniper"];

/// Runs the demo.
///
/// # Errors
/// One line that says what failed; the ends of the processes' logs where a round failed.
pub fn run(options: &Options) -> Result<(), String> {
    if options.check {
        return check(options);
    }
    let began = Instant::now();
    let programs = Programs::find()?;
    let data = data_set(options)?;
    let mut page = new_page(&options.report)?;
    let folder = tempfile::Builder::new().prefix("roundelay-demo-").tempdir();
    let folder = folder.map_err(|error| format!("can't make a folder for the run: {error}"))?;
    let prepared = Prepared::new(&data, options, folder.path())?;
    let trained = prepared.federate(&programs, options)?;
    let report = prepared.compare(&programs, options, &trained)?;
    tell(options, &report, &trained, began.elapsed());
    page.write_all(report.html().as_bytes())
        .map_err(|error| format!("can't write {}: {error}", options.report.display()))?;
    if options.keep {
        note!("kept: {}", folder.keep().display());
    }
    Ok(())
}

/// What can be told of the options before anything is built for them.
fn check(options: &Options) -> Result<(), String> {
    match &options.data {
        Some(folder) => DataSet::idx(folder).map(drop),
        None => options.model.check_digits(),
    }
}

/// Made before anything is trained, so that a path that can't be written costs no time.
fn new_page(report: &Path) -> Result<File, String> {
    let folder = report.parent().unwrap_or(report);
    std::fs::create_dir_all(folder)
        .and_then(|()| File::create(report))
        .map_err(|error| format!("can't write the page {}: {error}", report.display()))
}

fn data_set(options: &Options) -> Result<DataSet, String> {
    match (&options.data, digits_file()) {
        (Some(folder), _) => DataSet::idx(folder),
        (None, Some(file)) => options.model.check_digits().and_then(|()| DataSet::digits(&file)),
        (None, None) => {
            Err("ROUNDELAY_DIGITS names no file; `cargo xtask demo` sets it".to_owned())
        }
    }
}

/// Everyone's rows on disk, and the task.
struct Prepared<'a> {
    data: &'a DataSet,
    folder: &'a Path,
    split: Vec<Vec<usize>>,
    tenants: Vec<String>,
    task_file: PathBuf,
    task: Task,
}

/// What came out of the federation.
struct Trained {
    newest: Exported,
    rounds: Vec<Round>,
    dropouts: u64,
    upload: Upload,
    /// The model that the upload was trained from.
    parent: Exported,
    parent_version: ModelVersion,
}

impl<'a> Prepared<'a> {
    fn new(data: &'a DataSet, options: &Options, folder: &'a Path) -> Result<Self, String> {
        let clients = usize::from(options.clients);
        let labels = &data.train.labels;
        let split = dirichlet_by_label(labels, clients, options.alpha, ROWS_MIN, options.seed)
            .map_err(|error| error.to_string())?;
        let tenants: Vec<String> = (0..clients).map(tenant_name).collect();
        let test: Vec<usize> = (0..data.test.len()).collect();
        for (tenant, rows) in tenants.iter().zip(&split) {
            data.train.write(rows, &folder.join("rows").join(tenant), "")?;
            data.train.write(rows, &folder.join("compare").join(tenant), "")?;
            data.test.write(&test, &folder.join("compare").join(tenant), "test-")?;
        }
        let all: Vec<usize> = (0..data.train.len()).collect();
        data.train.write(&all, &folder.join("compare/pooled"), "")?;
        data.test.write(&test, &folder.join("compare/pooled"), "test-")?;
        let rows_max = split.iter().map(Vec::len).max().unwrap_or(0);
        let text = task_toml(data, options, rows_max);
        let task = task_of(&text)?;
        let task_file = folder.join("task.toml");
        std::fs::write(&task_file, text).map_err(|error| error.to_string())?;
        Ok(Self { data, folder, split, tenants, task_file, task })
    }

    /// Founds the federation, runs its rounds and takes its models out.
    fn federate(&self, programs: &Programs, options: &Options) -> Result<Trained, String> {
        let bar = progress(u64::from(options.rounds));
        let rows: Vec<PathBuf> =
            self.tenants.iter().map(|tenant| self.folder.join("rows").join(tenant)).collect();
        let said = |what: &str| bar.set_message(what.to_owned());
        let mut federation =
            Federation::found(programs, self.folder, &self.tenants, &rows, &self.task_file, &said)?;
        let site = federation.sites.first().map(|site| site.folder().to_path_buf());
        let site = site.ok_or("a federation without sites")?;
        let tap = Tap::on(
            site.join("federations").join(&federation.id),
            self.folder.join("uploads"),
            self.train_upload_bytes()?,
        )?;
        federation.start()?;
        federation.watch(&mut |status| show(&bar, status))?;
        let taken = self.take_out(&federation, tap)?;
        bar.finish_and_clear();
        for site in &mut federation.sites {
            site.terminate(Duration::from_secs(10));
        }
        federation.coordinator.terminate(Duration::from_secs(30));
        Ok(taken)
    }

    /// Length of a train round's masked vector; statistics and evaluation rounds have shorter ones.
    fn train_upload_bytes(&self) -> Result<u64, String> {
        let clients = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
        let layout = Layout::for_plan(PlanKind::Train, &self.task, clients);
        layout.map(|layout| layout.total_bytes()).map_err(|error| error.to_string())
    }

    fn take_out(&self, federation: &Federation, tap: Tap) -> Result<Trained, String> {
        let export = |version: u64| {
            let file = self.folder.join(format!("model-{version}.safetensors"));
            let (number, path) = (version.to_string(), file.display().to_string());
            let arguments =
                ["model", "export", &federation.id, "--version", &number, "--to", &path];
            federation.coordinator.verb(&arguments)?;
            Exported::read(&file, &self.task)
        };
        let rounds = federation.coordinator.verb(&["rounds", &federation.id])?;
        let models = federation.coordinator.verb(&["model", "list", &federation.id])?;
        let all = rounds.as_array().cloned().unwrap_or_default();
        let upload = tap.newest().ok_or("no masked vector of the first site was seen")?;
        let of_upload = all.iter().find(|round| round["round"] == upload.round);
        let parent = of_upload.and_then(|round| round["model_version"].as_u64());
        let parent = parent.ok_or_else(|| format!("round {} trained no model", upload.round))?;
        Ok(Trained {
            newest: export(u64::from(self.task.rounds))?,
            rounds: curve(&models),
            dropouts: all.iter().filter_map(|round| round["dropouts"].as_u64()).sum(),
            parent: export(parent)?,
            parent_version: ModelVersion(parent),
            upload,
        })
    }

    /// Trains the models that only the demo can: each tenant alone, and the pooled one.
    fn compare(
        &self,
        programs: &Programs,
        options: &Options,
        trained: &Trained,
    ) -> Result<Report, String> {
        let bar = progress(self.tenants.len() as u64 + 1);
        bar.set_message("for comparison only: each tenant alone, and pooled");
        let baseline = |name: &str, seed| {
            let folder = self.folder.join("compare").join(name);
            Baseline::new(&programs.trainer, &folder, &self.task, seed)
        };
        let mut tenants = Vec::new();
        for (place, (tenant, rows)) in self.tenants.iter().zip(&self.split).enumerate() {
            let mut alone = baseline(tenant, place as u64)?;
            alone.standardise_by_own_rows()?;
            tenants.push(Tenant {
                name: tenant.clone(),
                rows: rows.len(),
                labels: self.data.train.count_labels(rows, self.data.classes),
                alone: alone.train()?,
            });
            bar.inc(1);
        }
        let mut pooled = baseline("pooled", options.seed)?;
        if let Some(by) = &trained.newest.standardisation {
            pooled.standardise(by)?;
        }
        let federated = pooled.accuracy(&trained.newest.model)?;
        pooled.standardise_by_own_rows()?;
        let pooled = pooled.train()?;
        bar.finish_and_clear();
        let (plain, plain_range) = self.plain_update(programs, trained)?;
        Ok(Report {
            subtitle: self.subtitle(options),
            tenants,
            federated,
            pooled,
            rounds: trained.rounds.clone(),
            upload_round: trained.upload.round,
            masked: view::words(&trained.upload.masked),
            plain,
            plain_range,
            command: command_line(),
        })
    }

    /// The update that the upload masked, made again from the same rows, model and seed.
    fn plain_update(
        &self,
        programs: &Programs,
        trained: &Trained,
    ) -> Result<(Vec<u64>, (f32, f32)), String> {
        let first = self.tenants.first().map_or("", String::as_str);
        let folder = self.folder.join("rows").join(first);
        let mut trainer = Baseline::new(&programs.trainer, &folder, &self.task, 0)?;
        if let Some(by) = &trained.parent.standardisation {
            trainer.standardise(by)?;
        }
        let update = trainer.update(&trained.parent.model, trained.parent_version)?;
        Ok(view::coordinates(&update))
    }

    fn subtitle(&self, options: &Options) -> String {
        format!(
            "{}: {} rows over {} tenants (Dirichlet {}), {} of {}, {} test rows",
            self.data.name,
            self.data.train.len(),
            self.tenants.len(),
            options.alpha,
            counted(u64::from(self.task.rounds), "round"),
            options.model.in_words(),
            self.data.test.len(),
        )
    }
}

fn tenant_name(place: usize) -> String {
    let name = NAMES[place % NAMES.len()];
    if place < NAMES.len() {
        name.to_owned()
    } else {
        format!("{name}-{}", place / NAMES.len() + 1)
    }
}

fn progress(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:16} {pos}/{len} {elapsed} {wide_msg}");
    let bar = ProgressBar::new(length);
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

fn show(bar: &ProgressBar, status: &Value) {
    let engine = &status["engine"];
    bar.set_position(engine["model_version"].as_u64().unwrap_or(0));
    let stage = engine["training"]["stage"].as_str().unwrap_or("waiting");
    let accuracy = engine["evaluation"]["accuracy"].as_f64();
    let seen = accuracy.map_or_else(String::new, |accuracy| format!(", accuracy {accuracy:.3}"));
    bar.set_message(format!("{stage}{seen}"));
}

/// Federated evaluation by model version.
fn curve(models: &Value) -> Vec<Round> {
    let point = |model: &Value| {
        Some(Round {
            number: model["version"].as_u64()?,
            accuracy: model["accuracy"].as_f64()?,
            loss: model["loss"].as_f64()?,
            clients: model["survivors"].as_u64()?,
        })
    };
    models.as_array().map(|all| all.iter().filter_map(point).collect()).unwrap_or_default()
}

fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask demo {}", arguments.join(" ")).trim_end().to_owned()
}

fn tell(options: &Options, report: &Report, trained: &Trained, took: Duration) {
    if options.output == Output::Json {
        let line = serde_json::json!({
            "federated": report.federated,
            "alone_mean": report.alone_mean(),
            "pooled": report.pooled,
            "rounds": options.rounds,
            "clients": options.clients,
            "dropouts": trained.dropouts,
            "secure": view::is_flat(&report.masked),
            "seconds": (took.as_secs_f64() * 10.0).round() / 10.0,
        });
        out!("{line}");
        return;
    }
    out!("{}", report.subtitle);
    out!("\n{:<22} {:>6} {:>9}", "accuracy on test rows", "rows", "");
    for tenant in &report.tenants {
        out!("  {:<20} {:>6} {:>9.4}", format!("{} alone", tenant.name), tenant.rows, tenant.alone);
    }
    let rows: usize = report.tenants.iter().map(|tenant| tenant.rows).sum();
    out!("  {:<20} {:>6} {:>9.4}", "the federation", rows, report.federated);
    out!(
        "  {:<20} {rows:>6} {:>9.4}  (computed only for this comparison)",
        "pooled data",
        report.pooled
    );
    out!(
        "\n{} dropouts, {:.1} s. The page: {}",
        trained.dropouts,
        took.as_secs_f64(),
        options.report.display()
    );
}
