//! Tests of the gateway as its users see it.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod answers;
mod bars;
mod belief;
mod budget;
mod cache_api;
mod candles;
mod clients;
mod command;
mod conditions;
mod credentials;
mod disk;
mod docker;
mod docs;
mod drop_in;
mod examples;
mod faults;
mod fear_greed;
mod figures;
mod fuzz;
mod identity;
mod kv;
mod limits;
mod llm;
mod monitoring;
mod nodes;
mod one_question;
mod order_books;
mod overload;
mod own_site;
mod passing;
mod privacy;
mod redis;
mod redis_rights;
mod routes;
mod snapshots;
mod stream_truth;
mod streams;
mod support;
mod symbols;
mod tls;
mod upstash;
mod users;
mod warm;
mod word;
