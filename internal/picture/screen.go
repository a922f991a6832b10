package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// style is how a character looks. The color is that of an SGR code from 30 to 37, or 0.
type style struct {
	bold  bool
	color int
}

type cell struct {
	char  rune
	style style
}

// screen is what a terminal shows after it has received text with escape sequences. It
// does not scroll: it has as many rows as needed.
type screen struct {
	cols  int
	rows  [][]cell
	x, y  int
	style style
}

// read interprets text up to its end. It implements what the programs in examples use:
// line feeds and carriage returns, cursor movement, erasing and styles.
func (s *screen) read(r io.Reader) error {
	in := bufio.NewReader(r)
	for {
		char, _, err := in.ReadRune()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case char == '\x1b':
			if err := s.escape(in); err != nil {
				return err
			}
		default:
			s.put(char)
		}
	}
}

func (s *screen) put(char rune) {
	switch {
	case char == '\n':
		s.y++
	case char == '\r':
		s.x = 0
	case char < ' ':
	default:
		if s.x == s.cols {
			s.x, s.y = 0, s.y+1
		}
		row := s.row()
		for len(*row) <= s.x {
			*row = append(*row, cell{char: ' '})
		}
		(*row)[s.x] = cell{char, s.style}
		s.x++
	}
}

// row returns the row of the cursor.
func (s *screen) row() *[]cell {
	for len(s.rows) <= s.y {
		s.rows = append(s.rows, nil)
	}
	return &s.rows[s.y]
}

// escape interprets a control sequence, whose ESC has been read.
func (s *screen) escape(in *bufio.Reader) error {
	if char, _, err := in.ReadRune(); err != nil || char != '[' {
		return fmt.Errorf("unknown escape sequence ESC %q: %w", char, errors.Join(err, errors.ErrUnsupported))
	}
	var params strings.Builder
	for {
		char, _, err := in.ReadRune()
		if err != nil {
			return fmt.Errorf("control sequence %q: %w", params.String(), err)
		}
		if char >= '@' && char <= '~' {
			return s.control(char, params.String())
		}
		params.WriteRune(char)
	}
}

func (s *screen) control(command rune, params string) error {
	n, err := strconv.Atoi(params)
	if err != nil {
		n = 1
	}
	switch command {
	case 'A':
		s.y = max(0, s.y-n)
	case 'B':
		s.y += n
	case 'C':
		s.x = min(s.cols, s.x+n)
	case 'D':
		s.x = max(0, s.x-n)
	case 'J':
		s.eraseLine()
		s.rows = s.rows[:s.y+1]
	case 'K':
		s.eraseLine()
	case 'm':
		s.restyle(params)
	case 'h', 'l': // modes, such as a hidden cursor
	default:
		return fmt.Errorf("unknown control sequence %q: %w", params+string(command), errors.ErrUnsupported)
	}
	return nil
}

// eraseLine erases from the cursor to the end of its line.
func (s *screen) eraseLine() {
	row := s.row()
	*row = (*row)[:min(s.x, len(*row))]
}

func (s *screen) restyle(params string) {
	for param := range strings.SplitSeq(params, ";") {
		code, _ := strconv.Atoi(param)
		switch {
		case code == 0:
			s.style = style{}
		case code == 1:
			s.style.bold = true
		case code == 22:
			s.style.bold = false
		case code >= 30 && code <= 37:
			s.style.color = code
		case code == 39:
			s.style.color = 0
		}
	}
}

// lines returns the rows without trailing spaces and without empty rows at the end.
func (s *screen) lines() [][]cell {
	var all [][]cell
	last := 0
	for i, row := range s.rows {
		for len(row) > 0 && row[len(row)-1].char == ' ' {
			row = row[:len(row)-1]
		}
		all = append(all, row)
		if len(row) > 0 {
			last = i + 1
		}
	}
	return all[:last]
}

// text returns the text of rows.
func text(rows [][]cell) string {
	var b strings.Builder
	for _, row := range rows {
		for _, c := range row {
			b.WriteRune(c.char)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
