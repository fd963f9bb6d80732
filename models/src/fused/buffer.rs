//! Reused memory that starts on a cache line.

/// Floats of one cache line; parts of a buffer that start on multiples of it stay aligned.
pub const LINE: usize = 16;

/// Floats that are allocated once and kept; the first lies on a cache line, so that vector loads
/// of aligned parts never straddle two.
#[derive(Debug, Default)]
pub struct Buffer {
    data: Vec<f32>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// Makes room for `length` floats. Contents are kept if there was room, else they are zeros.
    pub fn reserve(&mut self, length: usize) {
        self.length = length;
        if self.data.len() < length + LINE {
            self.data = vec![0.0; length + LINE];
            self.start = self.data.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        }
    }

    /// The floats asked for last.
    pub fn as_slice(&self) -> &[f32] {
        &self.data[self.start..][..self.length]
    }

    /// The floats asked for last.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data[self.start..][..self.length]
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.as_slice()
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.as_mut_slice()
    }
}

/// A shared or exclusive slice of floats.
pub trait Part: Default {
    /// The first `at` entries and the rest.
    fn split(self, at: usize) -> (Self, Self);
}

impl Part for &[f32] {
    fn split(self, at: usize) -> (Self, Self) {
        self.split_at(at)
    }
}

impl Part for &mut [f32] {
    fn split(self, at: usize) -> (Self, Self) {
        self.split_at_mut(at)
    }
}

/// Cuts a slice into consecutive parts that start on cache lines if the slice does.
#[derive(Debug)]
pub struct Cut<P>(P);

impl<P: Part> Cut<P> {
    /// Starts at the front of `data`.
    pub fn new(data: P) -> Self {
        Self(data)
    }

    /// Floats that [`take`](Self::take) uses up for a part of `length`.
    pub fn footprint(length: usize) -> usize {
        length.next_multiple_of(LINE)
    }

    /// The next `length` floats.
    ///
    /// # Panics
    /// If fewer are left.
    pub fn take(&mut self, length: usize) -> P {
        let (part, rest) = std::mem::take(&mut self.0).split(Self::footprint(length));
        self.0 = rest;
        part.split(length).0
    }

    /// Everything that is left.
    pub fn rest(self) -> P {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_parts_are_aligned_disjoint_and_kept() {
        let mut buffer = Buffer::default();
        for length in [5usize, 100, 40] {
            buffer.reserve(length);
            assert_eq!(buffer.as_slice().len(), length);
            assert_eq!(buffer.as_slice().as_ptr().align_offset(64), 0);
        }
        buffer.reserve(Cut::<&[f32]>::footprint(3) + Cut::<&[f32]>::footprint(17));
        let mut cut = Cut::new(buffer.as_mut_slice());
        let (first, second) = (cut.take(3), cut.take(17));
        first.fill(1.0);
        second.fill(2.0);
        assert_eq!((first.len(), second.len()), (3, 17));
        assert_eq!(second.as_ptr().align_offset(64), 0);
        assert!(first.iter().all(|&x| (x - 1.0).abs() == 0.0));
    }
}
