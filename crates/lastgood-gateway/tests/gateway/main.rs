//! Tests of the gateway as its users see it.

mod command;
