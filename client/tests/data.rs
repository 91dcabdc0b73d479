//! What the readers make of good files, and the one line that each bad one gets.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use roundelay_client::data::{Data, DataError, Source};
use roundelay_protocol::schema::{Column, ColumnKind, Schema};

/// A folder of files that goes away with the test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("a file in it");
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn number(name: &str) -> Column {
    Column { name: name.to_owned(), kind: ColumnKind::Number { min: -10.0, max: 100.0 } }
}

fn table() -> Schema {
    let values = ["north", "south"].map(str::to_owned).to_vec();
    let region = Column { name: "region".to_owned(), kind: ColumnKind::Category { values } };
    Schema::Table {
        columns: vec![number("age"), region, number("income")],
        label: "risk".to_owned(),
        labels: vec!["low".to_owned(), "high".to_owned()],
        standardise: false,
    }
}

fn pictures() -> Schema {
    Schema::Images { channels: 1, height: 2, width: 3, classes: 10 }
}

fn numbers() -> Schema {
    Schema::Table {
        columns: vec![number("a"), number("b")],
        label: "y".to_owned(),
        labels: vec!["0".to_owned(), "1".to_owned()],
        standardise: false,
    }
}

fn load(path: &Path, schema: &Schema) -> Result<Data, DataError> {
    Data::load(&Source { held_out_percent: 0, ..Source::new(path) }, schema)
}

/// The line that a CSV file gets, without the folder before its name.
fn line_for(csv: impl AsRef<[u8]>) -> String {
    let folder = Folder::new();
    let error = load(&folder.file("rows.csv", csv), &table()).expect_err("a fault");
    line_of(&folder, &error)
}

fn line_of(folder: &Folder, error: &DataError) -> String {
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    line.replace(&format!("{}/", folder.path().display()), "")
        .replace(&folder.path().display().to_string(), "folder")
}

fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let count = u8::try_from(dimensions.len()).unwrap();
    let mut bytes = vec![0, 0, 8, count];
    dimensions.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npy(descr: &str, order: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let padded = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(padded.len()).unwrap().to_le_bytes());
    bytes.extend(padded.as_bytes());
    bytes.extend(values);
    bytes
}

fn f64s(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn i64s(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_table_is_read_by_column_name_whatever_the_order_in_the_file() {
    let folder = Folder::new();
    let csv = "id,risk,income, region ,age\n7,high,2.5,south,41\n8,low,-1e1,\"north\", 3 \n";
    let data = load(&folder.file("rows.csv", csv), &table()).unwrap();
    assert_eq!(data.train.inputs(), [41.0, 0.0, 1.0, 2.5, 3.0, 1.0, 0.0, -10.0]);
    assert_eq!(data.train.labels(), [1, 0]);
    assert!(data.held_out.is_empty());
}

#[test]
fn a_byte_order_mark_of_a_spreadsheet_is_not_part_of_a_name() {
    let folder = Folder::new();
    let csv = "\u{feff}age,region,income,risk\r\n1,north,2,low\r\n";
    assert_eq!(load(&folder.file("rows.csv", csv), &table()).unwrap().train.len(), 1);
}

#[test]
fn each_fault_of_a_table_gets_one_line_with_place_and_remedy() {
    let header = "age,region,income,risk\n";
    let good = "1,north,2,low\n";
    let case = |row: &str| line_for(format!("{header}{good}{row}\n"));
    for (line, expected) in [
        (
            line_for("age,region,risk\n1,north,low\n"),
            "rows.csv, line 1: the schema's column \"income\" is missing from the header; add it or rename the one that holds it",
        ),
        (
            line_for("age,region,income\n"),
            "rows.csv, line 1: the schema's column \"risk\" is missing from the header; add it or rename the one that holds it",
        ),
        (
            line_for("age,age,region,income,risk\n"),
            "rows.csv, line 1: the column \"age\" stands twice in the header; keep one",
        ),
        (
            case("old,north,2,low"),
            "rows.csv, line 3, column \"age\": \"old\" is not a number; correct it or leave the row out",
        ),
        (
            case("1,north,,low"),
            "rows.csv, line 3, column \"income\": is empty; fill it or leave the row out",
        ),
        (
            case("1,north,NaN,low"),
            "rows.csv, line 3, column \"income\": NaN is not a finite number; fill it or leave the row out",
        ),
        (
            case("1,north,1e40,low"),
            "rows.csv, line 3, column \"income\": 1e40 is not a finite number; fill it or leave the row out",
        ),
        (
            case("101,north,2,low"),
            "rows.csv, line 3, column \"age\": 101 lies outside the schema's -10 to 100; correct it or leave the row out: an amendment can't change a schema, wider bounds need a federation of their own",
        ),
        (
            case("1,west,2,low"),
            "rows.csv, line 3, column \"region\": \"west\" is not one of the schema's values (north, south); correct it or leave the row out: an amendment can't change a schema, another vocabulary needs a federation of its own",
        ),
        (
            case("1,north,2,medium"),
            "rows.csv, line 3, column \"risk\": \"medium\" is not one of the schema's labels (low, high); correct it or leave the row out: an amendment can't change a schema, other labels need a federation of their own",
        ),
        (
            case("1,north,2,"),
            "rows.csv, line 3, column \"risk\": is empty; fill it or leave the row out",
        ),
        (
            case("1,north,2"),
            "rows.csv, line 3: has 3 cells where the header has 4; repair the line",
        ),
        (line_for(header), "rows.csv: has no rows; give it at least one row of data"),
        (
            line_for(""),
            "rows.csv, line 1: the schema's column \"age\" is missing from the header; add it or rename the one that holds it",
        ),
        (
            line_for(b"age,region,income,risk\n1,\xff\xfe,2,low\n"),
            "rows.csv, line 2: is not readable as CSV in UTF-8: a cell is not UTF-8; export it again",
        ),
    ] {
        assert_eq!(line, expected);
    }
}

#[test]
fn a_quoted_cell_that_never_ends_is_told_from_a_whole_one() {
    let header = "age,region,income,risk\n1,north,2,low\n";
    let line = line_for(format!("{header}3,south,4,\"high"));
    assert_eq!(
        line,
        "rows.csv, line 3: begins a quoted cell that never ends: the file was cut off, or a quotation \
         mark within is not doubled; export it again",
    );
    let folder = Folder::new();
    let whole = folder.file("rows.csv", format!("{header}3,\"south\",4,\"high\"\n"));
    load(&whole, &table()).expect("quoted cells that end");
}

#[test]
fn a_cell_that_is_long_or_holds_control_characters_is_quoted_short_and_on_one_line() {
    let row = format!("\"{}\nx\",north,2,low", "y".repeat(100));
    let line = line_for(format!("age,region,income,risk\n{row}\n"));
    assert!(line.len() < 160, "{line}");
}

#[test]
fn a_missing_file_and_an_empty_folder_are_named() {
    let folder = Folder::new();
    let missing = load(&folder.path().join("none.csv"), &table()).unwrap_err();
    assert!(line_of(&folder, &missing).starts_with("none.csv: cannot be read: "), "{missing}");
    let empty = load(folder.path(), &table()).unwrap_err();
    assert_eq!(
        line_of(&folder, &empty),
        "folder: holds no CSV, IDX or NumPy data; name one CSV file, or a folder with one data \
         set (features.npy and labels.npy, or an IDX pair)"
    );
}

#[test]
fn idx_pictures_are_scaled_to_one_and_gzip_makes_no_difference() {
    let plain = Folder::new();
    let images = idx(&[2, 2, 3], &[0, 51, 102, 153, 204, 255, 255, 0, 0, 0, 0, 0]);
    let labels = idx(&[2], &[7, 9]);
    plain.file("train-images-idx3-ubyte", &images);
    plain.file("train-labels-idx1-ubyte", &labels);
    let packed = Folder::new();
    packed.file("train-images-idx3-ubyte.gz", gzip(&images));
    packed.file("train-labels-idx1-ubyte.gz", gzip(&labels));
    let data = load(plain.path(), &pictures()).unwrap();
    assert_eq!(data.train.inputs()[..6], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    assert_eq!(data.train.labels(), [7, 9]);
    assert_eq!(data, load(packed.path(), &pictures()).unwrap());
}

#[test]
fn idx_test_files_are_the_held_out_rows() {
    let folder = Folder::new();
    folder.file("train-images-idx3-ubyte", idx(&[2, 2, 3], &[1; 12]));
    folder.file("train-labels-idx1-ubyte", idx(&[2], &[1, 2]));
    folder.file("t10k-images-idx3-ubyte", idx(&[1, 2, 3], &[2; 6]));
    folder.file("t10k-labels-idx1-ubyte", idx(&[1], &[3]));
    let data = load(folder.path(), &pictures()).unwrap();
    assert_eq!((data.train.labels(), data.held_out.labels()), (&[1, 2][..], &[3][..]));
}

#[test]
fn each_fault_of_idx_files_gets_one_line() {
    let images = idx(&[2, 2, 3], &[0; 12]);
    let labels = idx(&[2], &[7, 9]);
    let line = |images: &[u8], labels: &[u8]| {
        let folder = Folder::new();
        folder.file("images.idx3", images);
        folder.file("labels.idx1", labels);
        line_of(&folder, &load(folder.path(), &pictures()).expect_err("a fault"))
    };
    for (line, expected) in [
        (
            line(&idx(&[2, 3, 2], &[0; 12]), &labels),
            "images.idx3: has the shape [3, 2] per picture, the schema asks for [1, 2, 3] (channels, height, width); resize the data",
        ),
        (
            line(&images, &idx(&[3], &[0; 3])),
            "labels.idx1: has 3 labels for 2 rows of features; give the two files of one data set",
        ),
        (
            line(&images, &idx(&[2], &[1, 10])),
            "labels.idx1, row 1 (the first is 0): \"10\" is not one of the schema's labels (0 to 9); correct it or leave the row out: an amendment can't change a schema, other labels need a federation of their own",
        ),
        (line(&images[..20], &labels), "images.idx3: ends in row 0 of 2; copy it again"),
        (line(&images[..7], &labels), "images.idx3: ends inside its IDX header; copy it again"),
        (
            line(&[images.clone(), vec![0]].concat(), &labels),
            "images.idx3: goes on after its last row; copy it again",
        ),
        (
            line(b"nonsense", &labels),
            "images.idx3: is not an IDX file; give the original or convert to NumPy",
        ),
        (
            line(&idx(&[0, 2, 3], &[]), &idx(&[0], &[])),
            "folder: has no rows; give it at least one row of data",
        ),
        (
            line(&idx(&[u32::MAX, 2, 3], &[]), &idx(&[u32::MAX], &[0; 9])),
            "labels.idx1: ends in row 9 of 4294967295; copy it again",
        ),
    ] {
        assert_eq!(line, expected);
    }
}

#[test]
fn numpy_arrays_become_tables_and_pictures() {
    let folder = Folder::new();
    folder.file("features.npy", npy("<f8", "False", "(2, 2)", &f64s(&[1.0, 2.0, -3.5, 4.0])));
    folder.file("labels.npy", npy("<i8", "False", "(2,)", &i64s(&[1, 0])));
    let data = load(folder.path(), &numbers()).unwrap();
    assert_eq!(data.train.inputs(), [1.0, 2.0, -3.5, 4.0]);
    assert_eq!(data.train.labels(), [1, 0]);

    let bytes = Folder::new();
    bytes.file("features.npy", npy("|u1", "False", "(1, 1, 2, 3)", &[0, 51, 102, 153, 204, 255]));
    bytes.file("labels.npy", npy("|u1", "False", "(1,)", &[4]));
    let floats = Folder::new();
    let scaled = f32s(&[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    floats.file("features.npy", npy("<f4", "False", "(1, 2, 3)", &scaled));
    floats.file("labels.npy", npy("<f4", "False", "(1, 1)", &f32s(&[4.0])));
    assert_eq!(load(bytes.path(), &pictures()).unwrap(), load(floats.path(), &pictures()).unwrap());
}

#[test]
fn numpy_arrays_for_a_schema_with_categories_are_refused_for_that_before_their_shape() {
    let folder = Folder::new();
    folder.file("features.npy", npy("<f8", "False", "(1, 3)", &f64s(&[1.0; 3])));
    folder.file("labels.npy", npy("<i8", "False", "(1,)", &i64s(&[1])));
    let fault = load(folder.path(), &table()).expect_err("categories");
    assert_eq!(
        line_of(&folder, &fault),
        "features.npy: holds numbers, the schema asks for categories in column \"region\" (use CSV); \
         give a file of that kind"
    );
}

#[test]
fn each_fault_of_numpy_arrays_gets_one_line() {
    let labels = npy("<i8", "False", "(1,)", &i64s(&[1]));
    let line = |features: Vec<u8>, labels: &[u8]| {
        let folder = Folder::new();
        folder.file("features.npy", features);
        folder.file("labels.npy", labels);
        line_of(&folder, &load(folder.path(), &numbers()).expect_err("a fault"))
    };
    let good = npy("<f8", "False", "(1, 2)", &f64s(&[1.0, 2.0]));
    let nan = npy("<f8", "False", "(1, 2)", &f64s(&[1.0, f64::NAN]));
    for (line, expected) in [
        (
            line(nan, &labels),
            "features.npy, row 0 (the first is 0), column \"b\": NaN is not a finite number; fill it or leave the row out",
        ),
        (
            line(npy("<f8", "False", "(1, 2)", &f64s(&[1.0, 1e9])), &labels),
            "features.npy, row 0 (the first is 0), column \"b\": 1000000000 lies outside the schema's -10 to 100; correct it or leave the row out: an amendment can't change a schema, wider bounds need a federation of their own",
        ),
        (
            line(npy("<f8", "False", "(1, 3)", &f64s(&[1.0; 3])), &labels),
            "features.npy: has the shape [1, 3], the schema asks for [2] per row; resize the data",
        ),
        (
            line(npy("<f8", "True", "(1, 2)", &f64s(&[1.0; 2])), &labels),
            "features.npy: is in Fortran order; save numpy.ascontiguousarray of it",
        ),
        (
            line(npy(">f8", "False", "(1, 2)", &f64s(&[1.0; 2])), &labels),
            "features.npy: holds \">f8\"; convert it with .astype to one of <f4 <f8 |u1 <i4 <i8",
        ),
        (
            line(npy("<f8", "False", "(1, 2)", &f64s(&[1.0])), &labels),
            "features.npy: ends in row 0 of 1; save it again",
        ),
        (
            line(npy("<f8", "False", "(1, 2)", &f64s(&[1.0; 3])), &labels),
            "features.npy: goes on after its last row; save it again",
        ),
        (
            line(b"PK\x03\x04 zipped".to_vec(), &labels),
            "features.npy: is not a NumPy array; save it with numpy.save",
        ),
        (
            line(good.clone(), &npy("<i8", "False", "(2,)", &i64s(&[1, 0]))),
            "labels.npy: has 2 labels for 1 rows of features; give the two files of one data set",
        ),
        (
            line(good, &npy("<i8", "False", "(1,)", &i64s(&[2]))),
            "labels.npy, row 0 (the first is 0): \"2\" is not one of the schema's labels (0, 1); correct it or leave the row out: an amendment can't change a schema, other labels need a federation of their own",
        ),
    ] {
        assert_eq!(line, expected);
    }
}

#[test]
fn files_of_the_wrong_kind_are_refused() {
    let folder = Folder::new();
    let csv = folder.file("rows.csv", "a,b,y\n1,2,0\n");
    assert_eq!(
        line_of(&folder, &load(&csv, &pictures()).unwrap_err()),
        "rows.csv: holds a table, the schema asks for pictures (IDX or NumPy); give a file of that kind"
    );
    let folder = Folder::new();
    folder.file("images.idx3", idx(&[1, 2, 3], &[0; 6]));
    folder.file("labels.idx1", idx(&[1], &[0]));
    assert_eq!(
        line_of(&folder, &load(folder.path(), &numbers()).unwrap_err()),
        "images.idx3: holds pictures, the schema asks for a table; give a file of that kind"
    );
}

fn many_rows(order: impl Iterator<Item = u32>) -> (Folder, Data) {
    let folder = Folder::new();
    let rows = order.map(|n| format!("{},{},{}\n", n % 100, f64::from(n) / 100.0 - 5.0, n % 2));
    let csv = format!("a,b,y\n{}", rows.collect::<String>());
    let data = Data::load(&Source::new(folder.file("rows.csv", csv)), &numbers()).unwrap();
    (folder, data)
}

#[test]
fn half_a_data_set_is_named_as_such_and_not_taken_for_a_table() {
    let folder = Folder::new();
    folder.file("features.npy", npy("<f4", "False", "(2, 2)", &f32s(&[1.0, 2.0, 3.0, 4.0])));
    let line =
        |path: &Path, schema: &Schema| load(path, schema).expect_err("half a data set").to_string();
    let words = line(folder.path(), &numbers());
    assert!(words.contains("holds features.npy and no labels.npy"), "{words}");
    let words = line(&folder.path().join("features.npy"), &numbers());
    assert!(words.contains("features.npy: is one NumPy file of a pair"), "{words}");
    let images = Folder::new();
    images.file("pictures", idx(&[2, 2, 3], &[9; 12]));
    for schema in [pictures(), table()] {
        let words = line(&images.path().join("pictures"), &schema);
        assert!(words.contains("pictures: is one IDX file of a pair"), "{words}");
    }
}

#[test]
fn a_row_stays_on_its_side_of_the_split_wherever_it_stands_and_whatever_is_added() {
    let (_folder, data) = many_rows(0..1000);
    let (_folder, turned) = many_rows((0..1000).rev());
    let (_folder, longer) = many_rows(0..1100);
    let held_out = |data: &Data| {
        let rows = data.held_out.inputs().chunks(2).map(|row| (row[0].to_bits(), row[1].to_bits()));
        rows.collect::<std::collections::BTreeSet<_>>()
    };
    assert!((150..250).contains(&data.held_out.len()), "{}", data.held_out.len());
    assert_eq!(data.train.len() + data.held_out.len(), 1000);
    assert_eq!(held_out(&data), held_out(&turned));
    assert!(held_out(&longer).is_superset(&held_out(&data)));
}

#[test]
fn the_digest_names_the_rows_in_any_order_and_changes_with_any_of_them() {
    let (_folder, data) = many_rows(0..100);
    let (_folder, turned) = many_rows((0..100).rev());
    let (_folder, fewer) = many_rows(0..99);
    assert_eq!(data.digest, turned.digest);
    assert_ne!(data.digest, fewer.digest);
}

#[test]
fn rows_in_memory_are_checked_like_rows_of_a_file() {
    let line = |inputs: &[f32], labels: &[u32]| {
        Data::from_memory(&numbers(), inputs, labels, 0).expect_err("a fault").to_string()
    };
    assert_eq!(
        line(&[1.0, f32::INFINITY], &[0]),
        "(memory), row 0 (the first is 0), column \"1\": inf is not a finite number; fill it or leave the row out"
    );
    assert!(line(&[1.0, 2.0], &[2]).contains("is not one of the schema's labels (0 to 1)"));
    assert!(line(&[1.0], &[0]).contains("1 labels for 0 rows"));
    assert!(line(&[], &[]).contains("has no rows"));
}

/// A file with some bytes changed, and cut or not.
fn damaged(file: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = file.len();
    let changes = prop::collection::vec((0..length, any::<u8>()), 0..4);
    (changes, 0..=length).prop_map(move |(changes, cut)| {
        let mut file = file.clone();
        changes.into_iter().for_each(|(at, byte)| file[at] = byte);
        file.truncate(if cut % 2 == 0 { length } else { cut });
        file
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_file_gives_finite_rows_of_the_right_width_or_one_line(
        csv in damaged(b"age,region,income,risk\n1,north,2,low\n3,south,4,high\n".to_vec()),
        images in damaged(idx(&[2, 2, 3], &[9; 12])),
        labels in damaged(idx(&[2], &[7, 9])),
        features in damaged(npy("<f4", "False", "(2, 2)", &f32s(&[1.0, 2.0, 3.0, 4.0]))),
        classes in damaged(npy("<i8", "False", "(2,)", &i64s(&[1, 0]))),
    ) {
        let (table_at, idx_at, npy_at) = (Folder::new(), Folder::new(), Folder::new());
        table_at.file("rows.csv", csv);
        idx_at.file("images.idx3", images);
        idx_at.file("labels.idx1", labels);
        npy_at.file("features.npy", features);
        npy_at.file("labels.npy", classes);
        for (folder, schema) in [(table_at, table()), (idx_at, pictures()), (npy_at, numbers())] {
            match load(folder.path(), &schema) {
                Ok(data) => {
                    let width = usize::try_from(schema.feature_count()).unwrap();
                    prop_assert_eq!(data.train.inputs().len(), data.train.len() * width);
                    prop_assert!(data.train.inputs().iter().all(|value| value.is_finite()));
                    let classes = schema.class_count();
                    prop_assert!(data.train.labels().iter().all(|k| (*k as usize) < classes));
                }
                Err(error) => prop_assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
    }
}
