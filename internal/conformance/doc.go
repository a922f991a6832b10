// Package conformance holds the library and the embedded platform against
// Heroku's own description of its API, the hyper-schema that
//
//	curl https://api.heroku.com/schema -H "Accept: application/vnd.heroku+json; version=3"
//
// answers with. It is tests only. The environment variable HEROKU_API_SCHEMA
// names the file; without it they are skipped.
//
// They demand three things. Every request that the library sends is one that
// the schema describes, and every answer of the embedded platform is the one
// that the schema promises for it. Every endpoint of the library's resources
// has been called, as has every endpoint that the embedded platform serves. Every
// field of the library's types is a property of the schema, by name, type and
// nullability, and every property is a field. Where that is not so on purpose,
// differences_test.go says why; an entry there that no longer applies fails.
//
// It is a module of its own so that nobody who uses the library gets the schema
// library with it.
package conformance
