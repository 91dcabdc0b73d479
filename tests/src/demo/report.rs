//! The demo's report: one HTML file without scripts, fonts or pictures from elsewhere.

use super::chart::{self, Line, escape};

/// What the page shows.
pub struct Report {
    /// What was trained, in a line.
    pub subtitle: String,
    /// Each tenant with its rows and what it reaches alone on the common test rows.
    pub tenants: Vec<Tenant>,
    /// Accuracy of the federated model on the common test rows.
    pub federated: f64,
    /// Accuracy of a model trained on the pooled data, which only the demo may have.
    pub pooled: f64,
    /// Federated evaluation after each round.
    pub rounds: Vec<Round>,
    /// The round of the upload that the page shows.
    pub upload_round: u64,
    /// Words of one tenant's masked upload in it, in equal bins over the ring.
    pub masked: Vec<u64>,
    /// The coordinates of the very same update before masking, in equal bins.
    pub plain: Vec<u64>,
    /// Smallest and largest coordinate of that update.
    pub plain_range: (f32, f32),
    /// How the page was made.
    pub command: String,
}

/// One tenant.
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: usize,
    /// Rows of each label.
    pub labels: Vec<usize>,
    /// Accuracy of its own model.
    pub alone: f64,
}

/// One round.
#[derive(Clone)]
pub struct Round {
    /// Its number, from 1.
    pub number: u64,
    /// Accuracy on the clients' held-out rows.
    pub accuracy: f64,
    /// Mean loss on the clients' held-out rows.
    pub loss: f64,
    /// Clients in the sum.
    pub clients: u64,
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --quiet: #667085; --rule: #d9dee7; --paper: #fff;
  --federated: #1f6feb; --pooled: #8250df; --alone: #9aa4b2; --loss: #d1742f; --masked: #1a7f64; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --quiet: #9aa4b2; --rule: #333b47;
  --paper: #12161c; } }
body { margin: 0 auto; max-width: 980px; padding: 2.5rem 1.25rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.4rem 0 .4rem; }
p { margin: .3rem 0 .8rem; } .quiet { color: var(--quiet); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { color: var(--quiet); font-size: .9rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .name { fill: var(--quiet); } .grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke-width: 2.2; } .line.federated { stroke: var(--federated); }
.line.pooled { stroke: var(--pooled); stroke-dasharray: 6 4; } .line.loss { stroke: var(--loss); }
.line.alone { stroke: var(--alone); stroke-dasharray: 2 4; }
.bar.federated { fill: var(--federated); } .bar.pooled { fill: var(--pooled); }
.bar.alone { fill: var(--alone); } .bar.loss { fill: var(--loss); } .bar.masked { fill: var(--masked); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; } code { font-size: .9em; }
";

impl Report {
    /// The page.
    #[must_use]
    pub fn html(&self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>Roundelay: a federation</title><style>{STYLE}</style></head><body>\
             <h1>One model, {} tenants, no shared rows</h1><p class=\"quiet\">{}</p>\
             {}{}{}{}<h2>How this page was made</h2><p><code>{}</code></p></body></html>\n",
            self.tenants.len(),
            escape(&self.subtitle),
            self.comparison(),
            self.curves(),
            self.views(),
            self.table(),
            escape(&self.command),
        )
    }

    /// Mean accuracy of the tenants' own models.
    #[must_use]
    pub fn alone_mean(&self) -> f64 {
        let sum: f64 = self.tenants.iter().map(|tenant| tenant.alone).sum();
        sum / self.tenants.len().max(1) as f64
    }

    fn comparison(&self) -> String {
        let mut rows: Vec<(String, &str, f64)> = self
            .tenants
            .iter()
            .map(|tenant| (format!("{} alone", tenant.name), "alone", tenant.alone))
            .collect();
        rows.push(("the federation".to_owned(), "federated", self.federated));
        rows.push(("pooled data".to_owned(), "pooled", self.pooled));
        format!(
            "<h2>Accuracy on test rows that nobody trained on</h2><p>The pooled model needs all \
             rows in one place. It was computed only for this comparison.</p>{}",
            chart::bars("Accuracy of each tenant alone, of the federation, of pooled data", &rows)
        )
    }

    fn curves(&self) -> String {
        let points = |value: fn(&Round) -> f64| {
            self.rounds.iter().map(|round| (round.number as f64, value(round))).collect::<Vec<_>>()
        };
        let ends = |level: f64| {
            let x = |round: Option<&Round>| round.map_or(0.0, |round| round.number as f64);
            vec![(x(self.rounds.first()), level), (x(self.rounds.last()), level)]
        };
        let accuracy = [
            Line { name: "federation", class: "federated", points: points(|round| round.accuracy) },
            Line { name: "alone, mean", class: "alone", points: ends(self.alone_mean()) },
            Line { name: "pooled", class: "pooled", points: ends(self.pooled) },
        ];
        let loss = [Line { name: "loss", class: "loss", points: points(|round| round.loss) }];
        format!(
            "<h2>Round by round</h2><p>Measured by the clients on their held-out rows and added up \
             under masks.</p><div class=\"pair\"><figure>{}<figcaption>accuracy</figcaption>\
             </figure><figure>{}<figcaption>mean loss</figcaption></figure></div>",
            chart::lines("Accuracy by round", "round", &accuracy),
            chart::lines("Loss by round", "round", &loss),
        )
    }

    fn views(&self) -> String {
        let (low, high) = self.plain_range;
        let flat = if super::view::is_flat(&self.masked) {
            "the histogram is flat"
        } else {
            "but this histogram is NOT flat, so something is wrong"
        };
        format!(
            "<h2>What the coordinator saw, and what it did not</h2><p>The same update of one \
             tenant in round {}. Masked, every word of the ring is as likely as any other: \
             {flat}.</p><div class=\"pair\"><figure>{}<figcaption>what left the \
             site: masked words</figcaption></figure><figure>{}<figcaption>what stayed: the \
             update's coordinates</figcaption></figure></div>",
            self.upload_round,
            chart::histogram("Masked words", "masked", &self.masked, ("0", "2³²")),
            chart::histogram(
                "Coordinates of the update",
                "alone",
                &self.plain,
                (&format!("{low:.4}"), &format!("{high:.4}")),
            ),
        )
    }

    fn table(&self) -> String {
        let row = |tenant: &Tenant| {
            let labels: Vec<String> = tenant.labels.iter().map(usize::to_string).collect();
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.4}</td></tr>",
                escape(&tenant.name),
                tenant.rows,
                labels.join(" "),
                tenant.alone
            )
        };
        let rows: String = self.tenants.iter().map(row).collect();
        format!(
            "<h2>Who held what</h2><table><tr><th>tenant</th><th>rows</th><th>rows of each \
             label</th><th>alone</th></tr>{rows}</table>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let tenant = Tenant { name: "a<b".into(), rows: 10, labels: vec![4, 6], alone: 0.5 };
        let round = |number| Round { number, accuracy: 0.8, loss: 0.4, clients: 3 };
        Report {
            subtitle: "digits".into(),
            tenants: vec![tenant],
            federated: 0.9,
            pooled: 0.95,
            rounds: (1..=5).map(round).collect(),
            upload_round: 12,
            masked: vec![10; 64],
            plain: vec![1, 5, 9, 5, 1],
            plain_range: (-0.1, 0.1),
            command: "cargo xtask demo".into(),
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = report().html();
        for outside in ["http:", "https:", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<svg").count(), 5);
        assert!(page.contains("a&lt;b"));
    }
}
