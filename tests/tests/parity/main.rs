//! Agreement with independent implementations and known answers.
