// Package conformance compares the library and the emulator of internal/platform
// with Heroku's description of its API, the hyper-schema returned by
//
//	curl https://api.heroku.com/schema -H "Accept: application/vnd.heroku+json; version=3"
//
// It only contains tests. The environment variable HEROKU_API_SCHEMA is the
// path of the schema; without it the tests that need it are skipped.
//
// These tests check that
//
//   - every request of the library and every response of the emulator is valid;
//   - every endpoint of the library's resources, and every endpoint of the
//     emulator, is called;
//   - the fields of the library's types and the properties of the schema match in
//     name, type and nullability.
//
// Intended differences are listed with their reasons in differences_test.go. An
// entry there that is no longer needed fails the tests.
//
// Other tests run other clients against the emulator, so that it does not merely
// match the library: Heroku's Go client, recorded requests and, where they are
// installed (see .ci/run), Heroku's CLI and a plugin of it.
//
// The package is a separate module so that users of the library do not depend on
// the packages that it needs.
package conformance
