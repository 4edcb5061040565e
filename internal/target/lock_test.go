package target

import (
	"errors"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestLockIsExclusive(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	first, second := open(t, db.URL, "public"), open(t, db.URL, "public")
	other, err := Open(t.Context(), Config{URL: secret.URL(db.URL), Schema: "public", Table: "product_archive"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	for range 10 { // given back, it is free at once
		lock, err := first.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range []*Target{first, second} {
			if _, err := target.Lock(t.Context()); !errors.Is(err, ErrLocked) {
				t.Errorf("a second run gets the lock: %v", err)
			} else {
				testenv.CheckMessage(t, err, "another repairing run is active on "+target.Name(), "wait for it to end", `"etl lock"`)
			}
		}
		elsewhere, err := other.Lock(t.Context())
		if err != nil {
			t.Fatalf("the lock of another table: %v", err)
		}
		elsewhere.Release(t.Context())
		select {
		case <-lock.Lost():
			t.Error("the lock counts as lost")
		default:
		}
		lock.Release(t.Context())
		select {
		case <-lock.Lost():
		default:
			t.Error("a lock that was given back still counts as held")
		}
		lock, err = second.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lock.Release(t.Context())
	}
}

func TestLockOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	for range 2 {
		lock, err := open(t, testenv.Cart(t).URL, "public").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { lock.Release(t.Context()) })
	}
}

func TestLockIsLostWithItsConnection(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*testing.T, *testenv.CartDB, *testenv.Proxy){
		"terminated": func(t *testing.T, db *testenv.CartDB, _ *testenv.Proxy) {
			var n int
			err := db.Pool.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'etl lock'`).Scan(&n)
			if err != nil || n != 1 {
				t.Fatalf("%d connections were ended, %v", n, err)
			}
		},
		"cut": func(_ *testing.T, _ *testenv.CartDB, proxy *testenv.Proxy) { proxy.Cut() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testenv.Cart(t)
			proxy, url := testenv.ProxyTo(t, db.URL)
			lock, err := open(t, url, "public").Lock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Release(t.Context())
			fault(t, db, proxy)
			select {
			case <-lock.Lost():
			case <-time.After(3 * lockInterval):
				t.Fatal("nobody noticed")
			}
			// Another run may begin; the server may need a moment to see that the connection is gone.
			free := open(t, db.URL, "public")
			testenv.Eventually(t, time.Minute, func() error {
				lock, err := free.Lock(t.Context())
				if err == nil {
					lock.Release(t.Context())
				}
				return err
			}, "the lock to be free")
		})
	}
}
