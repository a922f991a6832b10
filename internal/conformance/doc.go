// Package conformance holds the library and the embedded platform against
// Heroku's own hyper-schema: every request that the one sends, every answer that
// the other gives, and every field of the library's types. It is a module of its
// own, so that nobody who imports the library carries a JSON schema validator.
//
// The schema is what https://api.heroku.com/schema answers; the variable
// HEROKU_API_SCHEMA names a file with it.
package conformance
