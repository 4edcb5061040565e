package testenv

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Password is what tests put into URLs; no message may tell it.
const Password = "hunter2"

// CheckMessage checks that an error is one line that says what it must, and not Password.
func CheckMessage(tb testing.TB, err error, wants ...string) {
	tb.Helper()
	if err == nil {
		tb.Errorf("no error, want one that says %q", wants)
		return
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			tb.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		tb.Errorf("the error has several lines: %q", err)
	}
	if strings.Contains(err.Error(), Password) {
		tb.Errorf("the error tells the password: %v", err)
	}
}

// ChangedURL is a URL with some of its parts replaced.
func ChangedURL(tb testing.TB, raw string, change func(*url.URL)) string {
	tb.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		tb.Fatal("a URL cannot be read")
	}
	change(u)
	return u.String()
}

// ClosedAddress is an address of this machine on which nobody listens as long as the test
// runs: its port stays bound, so that no other test is given it.
func ClosedAddress(tb testing.TB) string {
	tb.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		tb.Fatal(err)
	}
	bound, err := syscall.Getsockname(socket)
	if err != nil {
		tb.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(bound.(*syscall.SockaddrInet4).Port))
}

// Mishap is a PostgreSQL address with something wrong, and what a message about it says.
type Mishap struct {
	Name, URL string
	Says      []string
}

// Mishaps are the ways in which the address of a database may be wrong.
func Mishaps(tb testing.TB, address string) []Mishap {
	tb.Helper()
	closed := ClosedAddress(tb)
	mute := NewProxy(tb, closed) // accepts, and nothing answers
	mute.Freeze()
	with := func(change func(*url.URL)) string { return ChangedURL(tb, address, change) }
	elsewhere := func(host, query string) string {
		return with(func(u *url.URL) {
			u.Host, u.User = host, url.UserPassword("cart", Password)
			if query != "" {
				u.RawQuery = query
			}
		})
	}
	return []Mishap{
		{"wrong password", with(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), Password) }),
			[]string{"authentication failed: check user and password of"}},
		{"unknown user", with(func(u *url.URL) { u.User = url.UserPassword("nobody", Password) }),
			[]string{"authentication failed: check user and password of", "nobody"}},
		{"unknown database", with(func(u *url.URL) { u.Path = "/nosuchshop" }),
			[]string{`database "nosuchshop" does not exist`, "check the database name of"}},
		{"nobody listens", elsewhere(closed, ""), []string{"no server answers: check the host of", "and the network", closed}},
		{"unknown host", elsewhere("nowhere.invalid:5432", ""), []string{"no server answers: check the host of", "nowhere.invalid"}},
		{"no answer", elsewhere(mute.Addr, "connect_timeout=1&sslmode=disable"), []string{"no server answers: check the host of", mute.Addr}},
	}
}
