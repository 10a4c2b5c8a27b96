//! zoutbox, the operator's tool.
