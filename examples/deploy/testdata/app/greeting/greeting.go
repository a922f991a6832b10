// Package greeting makes greetings.
package greeting

import "strings"

// For greets somebody.
func For(name string) string {
	return "Hello, " + strings.TrimSpace(name) + "!"
}
