//! The first difference of two schemas, in words for the person who has to mend the data.

use super::{Column, ColumnKind, Schema};

pub(super) fn first(found: &Schema, plan: &Schema) -> Option<String> {
    match (found, plan) {
        (Schema::Table { .. }, Schema::Images { .. }) => {
            Some("the data is a table, the plan has images".to_owned())
        }
        (Schema::Images { .. }, Schema::Table { .. }) => {
            Some("the data is images, the plan has a table".to_owned())
        }
        (
            Schema::Images { channels, height, width, classes },
            Schema::Images { channels: c, height: h, width: w, classes: k },
        ) => number("channels", *channels, *c)
            .or_else(|| number("pixels down", *height, *h))
            .or_else(|| number("pixels across", *width, *w))
            .or_else(|| number("classes", *classes, *k)),
        (
            Schema::Table { columns, label, labels, standardise },
            Schema::Table { columns: c, label: l, labels: ls, standardise: s },
        ) => first_column(columns, c)
            .or_else(|| text("the label column", label, l))
            .or_else(|| vocabulary("label", labels, ls))
            .or_else(|| (standardise != s).then(|| "`standardise` differs".to_owned())),
    }
}

fn first_column(found: &[Column], plan: &[Column]) -> Option<String> {
    let differing = found.iter().zip(plan).enumerate().find(|(_, (found, plan))| found != plan);
    if let Some((index, (found, plan))) = differing {
        return Some(column(index + 1, found, plan));
    }
    if let Some(extra) = found.get(plan.len()) {
        let number = plan.len() + 1;
        return Some(format!("column {number} is {extra}, the plan has only {}", plan.len()));
    }
    let missing = plan.get(found.len())?;
    Some(format!("column {} is missing, the plan has {missing}", found.len() + 1))
}

fn column(number: usize, found: &Column, plan: &Column) -> String {
    let place = format!("column {number} `{}`", found.name);
    match (&found.kind, &plan.kind) {
        _ if found.name != plan.name => format!("column {number} is {found}, the plan has {plan}"),
        (ColumnKind::Number { min, max }, ColumnKind::Number { min: low, max: high }) => {
            format!("{place} has the bounds {min} to {max}, the plan {low} to {high}")
        }
        (ColumnKind::Category { values }, ColumnKind::Category { values: others }) => {
            vocabulary(&format!("{place}: value"), values, others).unwrap_or(place)
        }
        _ => format!("column {number} is {found}, the plan has {plan}"),
    }
}

fn vocabulary(what: &str, found: &[String], plan: &[String]) -> Option<String> {
    let differing = found.iter().zip(plan).position(|(found, plan)| found != plan);
    let index = differing.or((found.len() != plan.len()).then(|| found.len().min(plan.len())))?;
    let word = |values: &[String]| values.get(index).map_or("none".into(), |v| format!("`{v}`"));
    Some(format!("{what} {} is {}, the plan has {}", index + 1, word(found), word(plan)))
}

fn number(what: &str, found: u32, plan: u32) -> Option<String> {
    (found != plan).then(|| format!("the data has {found} {what}, the plan {plan}"))
}

fn text(what: &str, found: &str, plan: &str) -> Option<String> {
    (found != plan).then(|| format!("{what} is `{found}`, the plan has `{plan}`"))
}
