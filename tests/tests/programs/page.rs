//! The demo's report page in a real browser: it loads without a complaint, and what it promises is
//! drawn.

use std::path::{Path, PathBuf};
use std::process::Command;

use roundelay_tests::harness::{Programs, digits_file, skip};
use serde_json::Value;

const TEST: &str = "the demo's page in a browser";

/// Measures what is drawn and writes it into the page, where `--dump-dom` shows it.
const PROBE: &str = r#"<script>
const size = (one) => one.getBoundingClientRect();
const facts = [...document.querySelectorAll("svg")].map((svg) => ({
    title: svg.getAttribute("aria-label") || svg.querySelector("title")?.textContent,
    width: size(svg).width,
    lines: [...svg.querySelectorAll("polyline")].map((line) => ({
        width: size(line).width, height: size(line).height,
        points: line.points.numberOfItems, ink: getComputedStyle(line).stroke,
    })),
    bars: [...svg.querySelectorAll("rect.bar")].map((bar) => size(bar).height),
}));
const told = document.createElement("pre");
told.id = "facts";
told.textContent = JSON.stringify(facts);
document.body.append(told);
</script></body>"#;

#[test]
fn the_demos_page_draws_its_curves_and_a_flat_histogram_in_a_browser() {
    let (Some(browser), Some(digits)) = (browser(), digits_file()) else {
        let missing =
            "Chromium (cargo xtask setup) or the digits table (cargo xtask test) is missing";
        return skip(TEST, missing);
    };
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    let json = demo(&page, &digits);
    assert!(json["federated"].as_f64() > json["alone_mean"].as_f64(), "{json}");

    let text = std::fs::read_to_string(&page).expect("a page");
    let probe = folder.path().join("probe.html");
    std::fs::write(&probe, text.replace("</body>", PROBE)).expect("a page");
    let facts = facts(&browser, folder.path(), &probe);
    let chart = |title: &str| {
        let found = facts.iter().find(|one| one["title"] == title);
        found.unwrap_or_else(|| panic!("no chart `{title}`: {facts:?}")).clone()
    };
    for (title, lines) in [("Accuracy by round", 3), ("Loss by round", 1)] {
        let chart = chart(title);
        let drawn = chart["lines"].as_array().expect("lines");
        assert_eq!(drawn.len(), lines, "{chart}");
        // The federation's curve: the first model, and one more for each round.
        assert_eq!(drawn[0]["points"], 5, "{chart}");
        assert!(drawn[0]["height"].as_f64() > Some(20.0), "{chart}");
        for line in drawn {
            assert!(line["width"].as_f64() > Some(200.0) && line["ink"] != "none", "{chart}");
        }
    }
    let spread = |title: &str| {
        let chart = chart(title);
        let bars = chart["bars"].as_array().expect("bars").iter();
        let bars: Vec<f64> = bars.map(|bar| bar.as_f64().expect("a height")).collect();
        assert!(bars.len() >= 8, "{chart}");
        bars.iter().fold(0.0, |most: f64, bar| most.max(*bar)) * bars.len() as f64
            / bars.iter().sum::<f64>()
    };
    // The highest bar over the mean: near 1 where words are uniform, far from it for an update.
    assert!(spread("Masked words") < 1.6, "{facts:?}");
    assert!(spread("Coordinates of the update") > 3.0, "{facts:?}");
    screenshot(&browser, folder.path(), &page);
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// Runs a small demo and returns its last line.
fn demo(page: &Path, digits: &Path) -> Value {
    let programs = Programs::find().expect("the programs are built");
    let demo = programs.client.with_file_name("roundelay-demo");
    let output = Command::new(&demo)
        .args(["--model", "softmax", "--rounds", "4", "--clients", "3", "--output", "json"])
        .arg("--report")
        .arg(page)
        .env("ROUNDELAY_DIGITS", digits)
        .output()
        .expect("the demo runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(!err.contains('\u{1b}'), "no bar without a terminal: {err}");
    serde_json::from_str(out.lines().last().expect("a line")).expect("JSON")
}

fn headless(browser: &Path, folder: &Path) -> Command {
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]);
    command.arg(format!("--user-data-dir={}", folder.join("profile").display()));
    command
}

fn facts(browser: &Path, folder: &Path, page: &Path) -> Vec<Value> {
    let address = format!("file://{}", page.display());
    let output =
        headless(browser, folder).args(["--dump-dom", &address]).output().expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(!log.contains("CONSOLE"), "{log}");
    let dom = String::from_utf8_lossy(&output.stdout);
    let (_, rest) = dom.split_once("<pre id=\"facts\">").expect("what the probe wrote");
    let (facts, _) = rest.split_once("</pre>").expect("its end");
    serde_json::from_str(&facts.replace("&gt;", ">").replace("&amp;", "&")).expect("JSON")
}

/// A picture of the page for people, beside the demo's own report.
fn screenshot(browser: &Path, folder: &Path, page: &Path) {
    let programs = Programs::find().expect("the programs are built");
    let target = programs.client.ancestors().nth(2).expect("the target folder").to_path_buf();
    let file = target.join("demo-page.png");
    let _ = std::fs::remove_file(&file);
    let output = headless(browser, folder)
        .args(["--hide-scrollbars", "--window-size=1000,1500"])
        .arg(format!("--screenshot={}", file.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!log.contains("CONSOLE"), "{log}");
    let bytes = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    assert!(bytes > 20_000, "{}: {bytes} bytes\n{log}", file.display());
}
