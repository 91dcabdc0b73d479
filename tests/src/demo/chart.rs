//! Charts as inline SVG: no script, no font and no file from elsewhere.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 40.0;

/// A named line through points, left to right.
pub struct Line<'a> {
    /// What the legend calls it.
    pub name: &'a str,
    /// A CSS class of the page: `federated`, `pooled`, `alone` or `loss`.
    pub class: &'a str,
    /// `(x, y)`.
    pub points: Vec<(f64, f64)>,
}

/// Lines over a common x axis. The y axis spans the values, widened to round numbers.
#[must_use]
pub fn lines(title: &str, x_name: &str, lines: &[Line<'_>]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (x_min, x_max) = bounds(points().map(|point| point.0));
    let (y_min, y_max) = rounded(bounds(points().map(|point| point.1)));
    let x = |value: f64| LEFT + (value - x_min) / (x_max - x_min) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - (value - y_min) / (y_max - y_min) * plot_height();
    let mut svg = open(title);
    axis(&mut svg, y_min, y_max, &y);
    for tick in x_ticks(x_min, x_max) {
        let at = x(tick);
        let _ = write!(
            svg,
            r#"<text class="tick" x="{at:.1}" y="{:.1}" text-anchor="middle">{tick}</text>"#,
            HEIGHT - 22.0
        );
    }
    let _ = write!(
        svg,
        r#"<text class="name" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 5.0,
        escape(x_name)
    );
    for (place, line) in lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
        let _ =
            write!(svg, r#"<polyline class="line {}" points="{}"/>"#, line.class, path.join(" "));
        // The caption names a line that is alone.
        if lines.len() == 1 {
            continue;
        }
        let (key_x, key_y) = (WIDTH - RIGHT - 150.0, HEIGHT - BOTTOM - 14.0 - 16.0 * place as f64);
        let _ = write!(
            svg,
            r#"<rect class="bar {}" x="{key_x:.1}" y="{:.1}" width="12" height="4"/><text class="tick" x="{:.1}" y="{:.1}">{}</text>"#,
            line.class,
            key_y - 5.0,
            key_x + 18.0,
            key_y,
            escape(line.name)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Horizontal bars from 0 to 1 with their values written out: `(name, class, value)`.
#[must_use]
pub fn bars(title: &str, rows: &[(String, &str, f64)]) -> String {
    let step = 26.0;
    let height = 12.0 + step * rows.len() as f64;
    let mut svg = open_sized(title, height);
    for (place, (name, class, value)) in rows.iter().enumerate() {
        let top = 6.0 + step * place as f64;
        let width = value.clamp(0.0, 1.0) * (WIDTH - 220.0);
        let middle = top + 14.0;
        let _ = write!(
            svg,
            r#"<text class="tick" x="142" y="{middle:.1}" text-anchor="end">{}</text><rect class="bar {class}" x="150" y="{top:.1}" width="{width:.1}" height="18" rx="2"/><text class="tick" x="{:.1}" y="{middle:.1}">{value:.4}</text>"#,
            escape(name),
            158.0 + width
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A histogram: how often values fell into equal bins from left to right.
#[must_use]
pub fn histogram(title: &str, class: &str, counts: &[u64], ends: (&str, &str)) -> String {
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = (WIDTH - LEFT - RIGHT) / counts.len().max(1) as f64;
    let mut svg = open(title);
    for (bin, count) in counts.iter().enumerate() {
        let tall = *count as f64 / most * plot_height();
        let left = LEFT + width * bin as f64;
        let _ = write!(
            svg,
            r#"<rect class="bar {class}" x="{left:.1}" y="{:.1}" width="{:.1}" height="{tall:.1}"/>"#,
            HEIGHT - BOTTOM - tall,
            width - 0.6
        );
    }
    for (at, anchor, text) in [(LEFT, "start", ends.0), (WIDTH - RIGHT, "end", ends.1)] {
        let _ = write!(
            svg,
            r#"<text class="tick" x="{at:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            HEIGHT - 22.0,
            escape(text)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Text made safe for HTML and SVG.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn plot_height() -> f64 {
    HEIGHT - TOP - BOTTOM
}

fn open(title: &str) -> String {
    open_sized(title, HEIGHT)
}

fn open_sized(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}"><title>{title}</title>"#
    )
}

fn axis(svg: &mut String, y_min: f64, y_max: f64, y: &dyn Fn(f64) -> f64) {
    for part in 0..=4 {
        let value = y_min + (y_max - y_min) * f64::from(part) / 4.0;
        let at = y(value);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{value:.2}</text>"#,
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
}

/// At most eleven whole numbers, first and last included.
fn x_ticks(min: f64, max: f64) -> Vec<f64> {
    let step = ((max - min) / 10.0).ceil().max(1.0);
    let mut ticks: Vec<f64> =
        (0..=10).map(|tick| min + step * f64::from(tick)).filter(|tick| *tick <= max).collect();
    if let Some(last) = ticks.last_mut()
        && max - *last < step / 2.0
    {
        *last = max;
    }
    ticks
}

/// The smallest and largest finite value, apart even where there is one value or none.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (min, max) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
        (min.min(value), max.max(value))
    });
    match (min <= max, min < max) {
        (false, _) => (0.0, 1.0),
        (true, false) => (min - 0.5, min + 0.5),
        (true, true) => (min, max),
    }
}

/// Widens bounds to twentieths.
fn rounded((min, max): (f64, f64)) -> (f64, f64) {
    ((min * 20.0).floor() / 20.0, (max * 20.0).ceil() / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_of_one_point_or_none_is_still_a_chart() {
        for points in [vec![], vec![(1.0, 0.5)], vec![(1.0, f64::NAN)]] {
            let svg = lines("t", "round", &[Line { name: "a", class: "loss", points }]);
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
            assert!(!svg.contains("inf"), "{svg}");
        }
        assert!(histogram("t", "masked", &[], ("0", "1")).ends_with("</svg>"));
    }

    #[test]
    fn names_from_outside_are_escaped() {
        let svg = bars("<b>", &[("a<script>".to_owned(), "alone", 0.5)]);
        assert!(!svg.contains("<script>") && !svg.contains("<b>"));
    }

    #[test]
    fn the_last_round_has_its_tick() {
        for rounds in 2..60 {
            let ticks = x_ticks(1.0, f64::from(rounds));
            assert!(ticks.len() <= 11 && ticks[0] == 1.0, "{ticks:?}");
        }
        assert_eq!(x_ticks(1.0, 10.0).last(), Some(&10.0));
    }
}
