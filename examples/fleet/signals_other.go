//go:build !unix

package main

import "errors"

const canFreeze = false

func freeze(int) error { return errors.ErrUnsupported }

func thaw(int) error { return errors.ErrUnsupported }

func terminate(int) error { return errors.ErrUnsupported }
