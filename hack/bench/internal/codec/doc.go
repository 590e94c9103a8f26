// Package codec benchmarks the parsers of others on the message that the protocol library's own benchmarks read.
package codec
