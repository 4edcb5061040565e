package rabbit

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestRooms(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	address := broker.User("", map[string]string{"configure": ".*", "write": ".*", "read": ".*"})
	login, err := url.Parse(address)
	if err != nil {
		t.Fatal("the user's URL cannot be read")
	}
	user := login.User.Username()
	m := management(t, Config{URL: secret.URL(address), ManagementURL: secret.URL(broker.Management)})
	if rooms, err := m.Rooms(t.Context()); err != nil || len(rooms) != 0 {
		t.Errorf("without limits: %+v, %v", rooms, err)
	}
	limit := func(path string, most int) {
		t.Helper()
		broker.Manage(http.MethodPut, path, map[string]int{"value": most}, nil)
	}
	limit("/api/vhost-limits/"+broker.Vhost+"/max-queues", 9)
	limit("/api/vhost-limits/"+broker.Vhost+"/max-connections", -1) // none
	limit("/api/user-limits/"+user+"/max-channels", 7)
	want := []Room{
		{Of: Queues, Owner: "vhost " + broker.Vhost, By: "set_vhost_limits", Most: 9, Used: 4},
		{Of: Channels, Owner: "user " + user, By: "set_user_limits", Most: 7},
	}
	if rooms, err := m.Rooms(t.Context()); err != nil || !slices.Equal(rooms, want) {
		t.Errorf("%+v, %v; want %+v", rooms, err, want)
	}
	// Who is shown only what is its own would take a limit for one that is not in use.
	guest := broker.User("management", map[string]string{"configure": "", "write": "", "read": ".*"})
	if login, err = url.Parse(guest); err != nil {
		t.Fatal("the user's URL cannot be read")
	}
	shown := management(t, Config{URL: secret.URL(address), ManagementURL: secret.URL(testenv.ChangedURL(t, broker.Management, func(u *url.URL) { u.User = login.User }))})
	if _, err := shown.Rooms(t.Context()); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("a user without the tag monitoring: %v", err)
	}
	if who, err := shown.Whoami(t.Context()); err != nil || who.Monitors() || who.Name != login.User.Username() {
		t.Errorf("%+v, %v", who, err)
	}
}
