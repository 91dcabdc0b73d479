use super::*;

fn number(name: &str) -> Column {
    Column { name: name.into(), kind: ColumnKind::Number { min: 0.0, max: 120.0 } }
}

fn category(name: &str, values: &[&str]) -> Column {
    let values = values.iter().map(ToString::to_string).collect();
    Column { name: name.into(), kind: ColumnKind::Category { values } }
}

fn table(columns: Vec<Column>) -> Schema {
    let labels = vec!["no".into(), "yes".into()];
    Schema::Table { columns, label: "churned".into(), labels, standardise: true }
}

#[test]
fn features_are_numbers_and_one_per_value_of_a_category() {
    let schema = table(vec![number("age"), category("plan", &["a", "b", "c"]), number("spend")]);
    assert_eq!(schema.validate(), Ok(()));
    assert_eq!(schema.feature_count(), 5);
    assert_eq!(schema.class_count(), 2);
    let numeric: Vec<_> = schema.numeric_columns().map(|column| column.index).collect();
    assert_eq!(numeric, [0, 2]);
    let images = Schema::Images { channels: 3, height: 32, width: 32, classes: 10 };
    assert_eq!((images.feature_count(), images.class_count()), (3072, 10));
}

#[test]
fn an_invalid_schema_names_the_place_of_its_fault() {
    let cases = [
        (table(vec![]), "1 to 65536 feature columns, not 0"),
        (table(vec![number("age"), number("age")]), "`age` stands there twice"),
        (table(vec![number("churned")]), "`churned` stands there twice"),
        (table(vec![number("a"), category("b", &[])]), "column 2 `b`"),
        (table(vec![category("b", &["x", "x"])]), "column 1 `b`: `x` stands there twice"),
        (table(vec![category("b", &["x"])]), "standardise is set"),
        (table(vec![number("")]), "1 to 128 bytes"),
        (table(vec![number("a\u{1b}[8A")]), "without control characters"),
        (table(vec![category("b", &["x\u{2066}y"])]), "without control characters"),
        (table(vec![number("a\nb")]), "without control characters"),
        (Schema::Images { channels: 1, height: 0, width: 9, classes: 2 }, "has 0 features"),
        (Schema::Images { channels: 1, height: 8, width: 8, classes: 1 }, "classes, not 1"),
        (
            Schema::Images { channels: u32::MAX, height: u32::MAX, width: u32::MAX, classes: 2 },
            "features after one-hot",
        ),
    ];
    for (schema, words) in cases {
        let error = schema.validate().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for (min, max) in [(0.0, 0.0), (1.0, 0.0), (f32::NAN, 1.0), (0.0, f32::INFINITY)] {
        let column = Column { name: "x".into(), kind: ColumnKind::Number { min, max } };
        assert!(matches!(table(vec![column]).validate(), Err(SchemaError::Bounds { .. })));
    }
}

#[test]
fn the_first_difference_is_said_in_words() {
    let plan = table(vec![number("age"), category("plan", &["a", "b"])]);
    assert_eq!(plan.difference(&plan), None);
    let cases = [
        (
            table(vec![number("age"), number("plan")]),
            "column 2 is `plan: number`, the plan has `plan: category`",
        ),
        (table(vec![number("years")]), "column 1 is `years: number`, the plan has `age: number`"),
        (table(vec![number("age")]), "column 2 is missing, the plan has `plan: category`"),
        (
            table(vec![number("age"), category("plan", &["a", "b"]), number("x")]),
            "column 3 is `x: number`, the plan has only 2",
        ),
        (
            table(vec![number("age"), category("plan", &["a", "c"])]),
            "column 2 `plan`: value 2 is `c`, the plan has `b`",
        ),
        (
            table(vec![number("age"), category("plan", &["a"])]),
            "column 2 `plan`: value 2 is none, the plan has `b`",
        ),
    ];
    for (found, words) in cases {
        assert_eq!(found.difference(&plan).as_deref(), Some(words));
        assert_ne!(found.digest(), plan.digest());
    }
    let small = Schema::Images { channels: 1, height: 8, width: 8, classes: 10 };
    let large = Schema::Images { channels: 1, height: 28, width: 8, classes: 10 };
    assert_eq!(
        small.difference(&large).as_deref(),
        Some("the data has 8 pixels down, the plan 28")
    );
    assert!(small.difference(&plan).is_some() && plan.difference(&small).is_some());
}

#[test]
fn a_schema_is_the_same_in_binary_and_in_text() {
    let schema = table(vec![number("age"), category("plan", &["a", "b"])]);
    let bytes = crate::codec::encode(&schema);
    assert_eq!(crate::codec::decode(&bytes, 4096), Ok(schema.clone()));
    let text = serde_json::to_string(&schema).unwrap();
    assert_eq!(serde_json::from_str::<Schema>(&text).unwrap(), schema);
    assert!(serde_json::from_str::<Schema>(&text.replace("standardise", "standardize")).is_err());
}
