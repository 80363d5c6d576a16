//! Benchmarks of lastgood; each lives in `benches/`.
