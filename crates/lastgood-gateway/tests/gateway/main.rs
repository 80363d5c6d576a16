//! Tests of the gateway as its users see it.

mod clients;
mod command;
mod drop_in;
mod faults;
mod limits;
mod privacy;
mod redis;
mod support;
