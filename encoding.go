package herokubuild

import (
	"net/http"

	"github.com/herokubuild/herokubuild/internal/transport"
)

// This file is for the output stream only, until that uses package transport itself.

var errRedirect = transport.ErrRedirect

func gzipEncoded(h http.Header) (bool, error) { return transport.Gzipped(h) }

func readErrorBody(resp *http.Response) []byte { return transport.ReadErrorBody(resp) }

// progress detects a body that returns nothing again and again.
type progress struct{ transport.Progress }

func (c *progress) check(n int, err error) error { return c.Check(n, err) }

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
