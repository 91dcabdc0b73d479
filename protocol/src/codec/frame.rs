//! Frames: a length and so many bytes, read without I/O from pieces of any size.

/// Bytes before each frame's body.
pub const FRAME_HEADER_BYTES: usize = 4;

/// A frame announces more bytes than are taken here. The sender is at fault; the stream cannot be
/// read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {bytes} bytes, at most {limit} are taken here")]
pub struct OversizedFrame {
    /// Bytes announced.
    pub bytes: usize,
    /// Bytes that are taken.
    pub limit: usize,
}

/// A body with its length before it.
///
/// # Errors
/// The body has more than `limit` bytes: what the other side would refuse is never sent.
pub fn frame(body: &[u8], limit: usize) -> Result<Vec<u8>, OversizedFrame> {
    let oversized = OversizedFrame { bytes: body.len(), limit };
    if body.len() > limit {
        return Err(oversized);
    }
    let length = u32::try_from(body.len()).map_err(|_| oversized)?;
    let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + body.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Finds frames in a stream of bytes.
///
/// [`read`](Self::read) takes bytes off the front of what the caller has received, up to the end of
/// one frame, and leaves the rest: so the limit may change between two frames of one piece, and raw
/// bytes may follow a header frame. It holds at most one frame.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    header: Vec<u8>,
    body: Vec<u8>,
}

impl FrameReader {
    /// A reader at the start of a frame that takes bodies of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, header: Vec::with_capacity(FRAME_HEADER_BYTES), body: Vec::new() }
    }

    /// Takes bodies of at most `limit` bytes from the next frame on, such as after authentication.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next frame's body, or `None` when all of `bytes` was taken and the frame goes on. Call
    /// it again while `bytes` is not empty.
    ///
    /// # Errors
    /// The frame is oversized: known from its first four bytes, before any of its body is held.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, OversizedFrame> {
        take(&mut self.header, FRAME_HEADER_BYTES, bytes);
        let Ok(header) = <[u8; FRAME_HEADER_BYTES]>::try_from(self.header.as_slice()) else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(OversizedFrame { bytes: length, limit: self.limit });
        }
        take(&mut self.body, length, bytes);
        if self.body.len() < length {
            return Ok(None);
        }
        self.header.clear();
        Ok(Some(std::mem::take(&mut self.body)))
    }

    /// Whether the stream may end here: no frame is half read.
    #[must_use]
    pub fn is_at_border(&self) -> bool {
        self.header.is_empty()
    }
}

/// Moves bytes from the front of `from` until `to` has `length` of them or none are left.
fn take(to: &mut Vec<u8>, length: usize, from: &mut &[u8]) {
    let missing = length.saturating_sub(to.len());
    let (taken, rest) = from.split_at(missing.min(from.len()));
    to.extend_from_slice(taken);
    *from = rest;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_oversized_frame_is_refused_from_its_header_alone() {
        let mut reader = FrameReader::new(10);
        let refused = OversizedFrame { bytes: 11, limit: 10 };
        assert_eq!(reader.read(&mut &[11, 0, 0, 0][..]), Err(refused));
        assert_eq!(frame(&[0; 11], 10), Err(refused));
    }

    #[test]
    fn the_limit_may_change_between_two_frames_of_one_piece() {
        let piece = [frame(b"hello", 5).unwrap(), frame(&[7; 100], 100).unwrap()].concat();
        let (mut reader, mut bytes) = (FrameReader::new(5), piece.as_slice());
        assert_eq!(reader.read(&mut bytes), Ok(Some(b"hello".to_vec())));
        reader.set_limit(100);
        assert_eq!(reader.read(&mut bytes), Ok(Some(vec![7; 100])));
        assert!(bytes.is_empty() && reader.is_at_border());
    }

    #[test]
    fn raw_bytes_behind_a_frame_stay_with_the_caller() {
        let piece = [frame(b"header", 64).unwrap(), vec![1, 2, 3]].concat();
        let mut bytes = piece.as_slice();
        assert!(FrameReader::new(64).read(&mut bytes).unwrap().is_some());
        assert_eq!(bytes, [1, 2, 3]);
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        let mut reader = FrameReader::new(0);
        assert_eq!(reader.read(&mut &[0; 4][..]), Ok(Some(vec![])));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            piece in 1..50_usize,
        ) {
            let stream: Vec<u8> =
                bodies.iter().flat_map(|body| frame(body, 64).unwrap()).collect();
            let (mut reader, mut read) = (FrameReader::new(64), Vec::new());
            for mut bytes in stream.chunks(piece) {
                loop {
                    match reader.read(&mut bytes).unwrap() {
                        Some(body) => read.push(body),
                        None if bytes.is_empty() => break,
                        None => {}
                    }
                }
            }
            prop_assert_eq!(read, bodies);
            prop_assert!(reader.is_at_border());
        }
    }
}
