//! What it costs: figures for the docs, printed as tables. Emulation makes times long; counts and ratios are true.

pub(crate) fn all() {}
