package check

import (
	"fmt"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// RequiredID checks an ID in a response, where field names it.
func RequiredID(field, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("the response has no %s", field)
	case !IsUUID(id):
		return fmt.Errorf("the response's %s %s is not a UUID", field, clean.Quote(id))
	}
	return nil
}

// OptionalID checks an ID that a response may lack, such as that of a slug that does not
// exist yet.
func OptionalID(field, id string) error {
	if id == "" {
		return nil
	}
	return RequiredID(field, id)
}

// RequiredURL checks a URL in a response that the library is going to use. It spares lists
// the allocations of the parser for nearly every item.
func RequiredURL(field, url string) error {
	if isPlainURL(url) {
		return nil
	}
	if _, reason := WebURL(url); reason != "" {
		return fmt.Errorf("the response's %s cannot be used: %s", field, reason)
	}
	return nil
}

// OptionalURL checks a URL that a response may lack.
func OptionalURL(field, url string) error {
	if url == "" {
		return nil
	}
	return RequiredURL(field, url)
}
