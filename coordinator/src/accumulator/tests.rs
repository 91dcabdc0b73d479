use std::io::Cursor;
use std::sync::Arc;

use proptest::prelude::*;
use roundelay_crypto::chunks::ChunkRoot;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::{MaskKey, Ring, Sign, add_masks, add_words};
use roundelay_crypto::secret::Secret;
use roundelay_protocol::bounded::Text;
use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::ClientId;
use roundelay_protocol::layout::{Encoding, Layout, Segment};

use super::*;

fn client(number: usize) -> ClientId {
    ClientId(Digest::of("test client", &[&number.to_le_bytes()]))
}

/// Chunks of different lengths in all three rings, one after the other.
fn shapes(lengths: &[(usize, Ring)]) -> Vec<Shape> {
    let mut offset = 0;
    let mut shape = |&(bytes, ring): &(usize, Ring)| {
        let shape = Shape { offset, bytes, ring };
        offset += bytes as u64;
        shape
    };
    lengths.iter().map(&mut shape).collect()
}

fn small() -> Vec<Shape> {
    shapes(&[(64, Ring::Z32), (32, Ring::Z16), (48, Ring::Z64), (16, Ring::Z32)])
}

/// A vector that looks masked: every bit as likely as not.
fn vector(seed: u64, bytes: usize) -> Vec<u8> {
    let mut words = vec![0; bytes.next_multiple_of(2)];
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let key = MaskKey { seed: Secret::new(key), sign: Sign::Plus };
    add_masks(&mut words, Ring::Z16, &[key], 0);
    words.truncate(bytes);
    words
}

fn plain_sum(shapes: &[Shape], vectors: &[Vec<u8>]) -> Vec<u8> {
    let mut sum = vec![0; vectors.first().map_or(0, Vec::len)];
    for vector in vectors {
        for shape in shapes {
            let range = shape.offset as usize..shape.offset as usize + shape.bytes;
            add_words(&mut sum[range.clone()], shape.ring, &vector[range]);
        }
    }
    sum
}

fn root(shapes: &[Shape], vector: &[u8]) -> Digest {
    let mut root = ChunkRoot::new();
    for shape in shapes {
        root.push(&vector[shape.offset as usize..shape.offset as usize + shape.bytes]);
    }
    root.finish()
}

fn memory() -> Undo {
    Undo::in_memory(&Chunks::default(), ())
}

fn upload(sum: &Arc<Accumulator>, who: usize, bytes: &[u8]) -> Result<Digest, UploadError> {
    let mut upload = sum.begin(client(who), sum.bytes(), memory())?;
    upload.write(bytes)?;
    upload.finish()
}

#[test]
fn the_sum_is_that_of_the_survivors_and_each_root_that_of_its_chunks() {
    let sum = Accumulator::new(small(), (0..3).map(client));
    let vectors: Vec<_> = (0..3).map(|seed| vector(seed, 160)).collect();
    for (who, vector) in vectors.iter().enumerate() {
        assert_eq!(upload(&sum, who, vector).unwrap(), root(&small(), vector));
    }
    let sealed = sum.seal(&[client(0), client(1), client(2)]).unwrap();
    assert_eq!(sealed, plain_sum(&small(), &vectors));
}

#[test]
fn a_survivor_that_has_not_finished_makes_sealing_an_error() {
    let sum = Accumulator::new(small(), (0..2).map(client));
    upload(&sum, 0, &vector(0, 160)).unwrap();
    let mut half = sum.begin(client(1), 160, memory()).unwrap();
    half.write(&vector(1, 160)[..100]).unwrap();
    assert_eq!(
        sum.seal(&[client(0), client(1)]).unwrap_err(),
        SealError::Incomplete(client(1)),
        "the upload is still under way"
    );
    assert!(matches!(half.write(&[0; 60]), Err(UploadError::Withdrawn)));
}

#[test]
fn a_vector_of_another_length_is_refused_before_during_and_after() {
    let sum = Accumulator::new(small(), (0..2).map(client));
    let wrong = |result: Result<_, UploadError>, bytes: u64| {
        let expected = Fault::WrongLength { sent: bytes, expected: 160 };
        assert!(matches!(result, Err(UploadError::Fault(fault)) if fault == expected));
    };
    wrong(sum.begin(client(0), 159, memory()).map(drop), 159);
    wrong(upload(&sum, 0, &vector(0, 159)).map(drop), 159);
    wrong(upload(&sum, 0, &vector(0, 163)).map(drop), 163);
    let right = vector(1, 160);
    upload(&sum, 1, &right).unwrap();
    assert_eq!(sum.seal(&[client(1)]).unwrap(), right);
}

#[test]
fn only_the_active_roster_is_taken_and_nobody_twice() {
    let sum = Accumulator::new(small(), [client(0)]);
    assert!(matches!(upload(&sum, 1, &vector(0, 160)), Err(UploadError::NotActive)));
    upload(&sum, 0, &vector(0, 160)).unwrap();
    assert!(matches!(upload(&sum, 0, &vector(0, 160)), Err(UploadError::AlreadyComplete)));
    let longer = sum.begin(client(0), 161, memory());
    assert!(matches!(longer, Err(UploadError::AlreadyComplete)), "no fault takes it out again");
    sum.seal(&[client(0)]).unwrap();
    assert!(matches!(upload(&sum, 0, &vector(0, 160)), Err(UploadError::Withdrawn)));
}

#[test]
fn a_client_that_begins_again_replaces_its_unfinished_upload() {
    let sum = Accumulator::new(small(), [client(0)]);
    let whole = vector(7, 160);
    let mut broken = sum.begin(client(0), 160, memory()).unwrap();
    broken.write(&whole[..150]).unwrap();
    upload(&sum, 0, &whole).unwrap();
    assert!(matches!(broken.write(&whole[150..]), Err(UploadError::Withdrawn)));
    drop(broken);
    assert_eq!(sum.seal(&[client(0)]).unwrap(), whole);
}

#[test]
fn a_settled_client_holds_no_undo_data_and_can_no_longer_be_taken_back() {
    let sum = Accumulator::new(small(), [client(0)]);
    let held = Arc::new(());
    let mut upload =
        sum.begin(client(0), 160, Undo::in_memory(&Chunks::default(), Arc::clone(&held))).unwrap();
    upload.write(&vector(0, 160)).unwrap();
    upload.finish().unwrap();
    assert_eq!(Arc::strong_count(&held), 2);
    sum.settle(client(0));
    assert_eq!(Arc::strong_count(&held), 1);
    sum.discard(client(0));
    assert_eq!(sum.seal(&[]).unwrap_err(), SealError::Inexact, "never a wrong sum in silence");
}

#[test]
fn settling_before_the_end_of_an_upload_changes_nothing() {
    let sum = Accumulator::new(small(), [client(0)]);
    let mut upload = sum.begin(client(0), 160, memory()).unwrap();
    upload.write(&vector(0, 160)[..100]).unwrap();
    sum.settle(client(0));
    drop(upload);
    assert_eq!(sum.seal(&[]).unwrap(), vec![0; 160]);
}

/// A spool on a disk that fills up after so many bytes.
struct FullDisk {
    file: Cursor<Vec<u8>>,
    room: usize,
}

impl io::Write for FullDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= taken;
        self.file.write(&bytes[..taken])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for FullDisk {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl io::Seek for FullDisk {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[test]
fn a_full_disk_takes_one_upload_back_and_leaves_the_others_exact() {
    let sum = Accumulator::new(small(), (0..2).map(client));
    let other = vector(1, 160);
    upload(&sum, 1, &other).unwrap();
    let spool = FullDisk { file: Cursor::default(), room: 70 };
    let mut failing = sum.begin(client(0), 160, Undo::in_spool(spool, &Chunks::default())).unwrap();
    assert!(matches!(failing.write(&vector(0, 160)), Err(UploadError::Spool(_))));
    drop(failing);
    assert_eq!(sum.seal(&[client(1)]).unwrap(), other);
}

#[test]
fn masks_come_off_as_they_were_put_on() {
    let shapes = small();
    let plain = vector(3, 160);
    let seeds = [[1; 32], [2; 32]];
    let keys = |signs: [Sign; 2]| {
        let key = |(seed, sign)| MaskKey { seed: Secret::new(seed), sign };
        seeds.into_iter().zip(signs).map(key).collect::<Vec<_>>()
    };
    let mut masked = plain.clone();
    for shape in &shapes {
        let range = shape.offset as usize..shape.offset as usize + shape.bytes;
        let on = keys([Sign::Plus, Sign::Minus]);
        add_masks(&mut masked[range], shape.ring, &on, shape.offset);
    }
    assert_ne!(masked, plain);
    unmask(&mut masked, &shapes, &keys([Sign::Minus, Sign::Plus]));
    assert_eq!(masked, plain);
}

#[test]
fn masks_of_long_chunks_come_off_in_pieces_as_they_were_put_on_at_once() {
    let shape = |offset, bytes, ring| Shape { offset, bytes, ring };
    let shapes = [shape(0, 200_000, Ring::Z32), shape(200_000, 70_000, Ring::Z16)];
    let plain = vector(3, 270_000);
    let key = |sign| [MaskKey { seed: Secret::new([5; 32]), sign }];
    let mut masked = plain.clone();
    let (first, second) = masked.split_at_mut(200_000);
    add_masks(first, Ring::Z32, &key(Sign::Plus), 0);
    add_masks(second, Ring::Z16, &key(Sign::Plus), 200_000);
    unmask(&mut masked, &shapes, &key(Sign::Minus));
    assert!(masked == plain);
}

#[test]
fn the_shapes_of_a_layout_follow_each_other_to_its_end() {
    let count = |name: &str, ring, words| Segment {
        name: Text::clipped(name),
        ring,
        words,
        encoding: Encoding::Count { max: 1 },
    };
    let segments = vec![count("long", Ring::Z32, 600_000), count("short", Ring::Z64, 3)];
    let layout = Layout::new(segments, 4).unwrap();
    let shapes = Shape::all(&layout);
    assert_eq!(shapes.len(), 4);
    let sum = Accumulator::new(shapes, [client(0)]);
    assert_eq!(sum.bytes(), layout.total_bytes());
    let upload_bytes = layout.blank();
    upload(&sum, 0, &upload_bytes).unwrap();
    let sealed = sum.seal(&[client(0)]).unwrap();
    assert_eq!(layout.check_lanes(&sealed, 1), Ok(()));
}

/// What happens to a client next in an interleaving.
#[derive(Debug, Clone)]
enum Step {
    Begin { spooled: bool },
    Write(usize),
    Finish,
    Lose,
    Discard,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        3 => any::<bool>().prop_map(|spooled| Step::Begin { spooled }),
        8 => (1usize..120).prop_map(Step::Write),
        4 => Just(Step::Finish),
        1 => Just(Step::Lose),
        1 => Just(Step::Discard),
    ];
    prop::collection::vec((0usize..4, step), 0..120)
}

/// What the model of the test knows about one client.
#[derive(Default)]
struct Model {
    upload: Option<Upload>,
    sent: usize,
    complete: bool,
}

proptest! {
    #[test]
    fn any_interleaving_of_uploads_losses_and_spools_sums_exactly_those_who_finished(
        steps in steps(),
        dropped in any::<[bool; 4]>(),
    ) {
        let vectors: Vec<_> = (0..4).map(|seed| vector(seed, 160)).collect();
        let sum = Accumulator::new(small(), (0..4).map(client));
        let mut models: [Model; 4] = Default::default();
        for (who, step) in steps {
            drive(&sum, &vectors[who], who, &mut models[who], step);
        }
        let finished: Vec<_> = (0..4).filter(|&who| models[who].complete).collect();
        let kept: Vec<_> = finished.into_iter().filter(|&who| !dropped[who]).collect();
        let clients: Vec<_> = kept.iter().map(|&who| client(who)).collect();
        let expected: Vec<_> = kept.iter().map(|&who| vectors[who].clone()).collect();
        let sealed = sum.seal(&clients).unwrap();
        let expected = if expected.is_empty() { vec![0; 160] } else { plain_sum(&small(), &expected) };
        prop_assert_eq!(sealed, expected);
    }
}

fn drive(sum: &Arc<Accumulator>, vector: &[u8], who: usize, model: &mut Model, step: Step) {
    match step {
        Step::Begin { spooled } => {
            let spool = || Undo::in_spool(Cursor::new(Vec::new()), &Chunks::default());
            let undo = if spooled { spool() } else { memory() };
            let begun = sum.begin(client(who), 160, undo);
            assert_eq!(begun.is_err(), model.complete, "only a complete client is refused");
            if let Ok(upload) = begun {
                (model.upload, model.sent) = (Some(upload), 0);
            }
        }
        Step::Write(length) => {
            if let Some(upload) = &mut model.upload {
                let end = (model.sent + length).min(160);
                upload.write(&vector[model.sent..end]).unwrap();
                model.sent = end;
            }
        }
        Step::Finish => {
            if let Some(upload) = model.upload.take() {
                let finished = upload.finish();
                assert_eq!(finished.is_ok(), model.sent == 160);
                model.complete |= finished.is_ok();
            }
        }
        Step::Lose => model.upload = None,
        Step::Discard => {
            sum.discard(client(who));
            (model.upload, model.complete) = (None, false);
        }
    }
}

#[test]
fn a_sum_that_is_withdrawn_lets_all_memory_go_and_ends_every_upload() {
    let sum = Accumulator::new(small(), (0..3).map(client));
    let held = Arc::new(());
    let begin = |who| {
        let undo = Undo::in_memory(&Chunks::default(), Arc::clone(&held));
        sum.begin(client(who), sum.bytes(), undo).unwrap()
    };
    let bytes = vec![1; usize::try_from(sum.bytes()).unwrap()];
    let (mut complete, mut half) = (begin(0), begin(1));
    complete.write(&bytes).unwrap();
    complete.finish().unwrap();
    half.write(&bytes[..bytes.len() / 2]).unwrap();
    sum.withdraw();
    assert_eq!(Arc::strong_count(&held), 1, "the undo data of both is let go");
    assert!(matches!(half.write(&bytes[bytes.len() / 2..]), Err(UploadError::Withdrawn)));
    assert!(matches!(upload(&sum, 2, &bytes), Err(UploadError::Withdrawn)));
    drop(half);
    assert_eq!(sum.seal(&[]), Err(SealError::Inexact), "what is left is nobody's sum");
}

#[test]
fn an_upload_that_breaks_off_after_any_number_of_its_bytes_leaves_nothing_in_the_sum() {
    let vectors: Vec<_> = (0..3).map(|seed| vector(seed, 160)).collect();
    let spooled = || Undo::in_spool(Cursor::new(Vec::new()), &Chunks::default());
    for undo in [memory as fn() -> Undo, spooled] {
        for sent in 0..=160 {
            let sum = Accumulator::new(small(), (0..3).map(client));
            upload(&sum, 0, &vectors[0]).unwrap();
            let mut broken = sum.begin(client(1), 160, undo()).unwrap();
            broken.write(&vectors[1][..sent]).unwrap();
            upload(&sum, 2, &vectors[2]).unwrap();
            // All bytes without the word that these were all is no upload either.
            drop(broken);
            let kept = [vectors[0].clone(), vectors[2].clone()];
            let sealed = sum.seal(&[client(0), client(2)]).unwrap();
            assert_eq!(sealed, plain_sum(&small(), &kept), "{sent} bytes");
        }
    }
}
