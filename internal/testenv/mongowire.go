package testenv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// MongoWire is a proxy that understands MongoDB's protocol. It records the commands that clients send, and changes
// what the server behind it answers. The tests' server is one node, so this, and not a real server, shows what only a
// replica set does: elections, secondaries, a majority that lags. What is read still comes from the real server.
type MongoWire struct {
	Addr string // host:port where it listens

	listener net.Listener
	target   string
	tasks    sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	commands []MongoCommand
	edit     MongoEdit
	closed   bool
}

// MongoCommand is a command that a client has sent.
type MongoCommand struct {
	Name string
	Body bson.Raw
}

// MongoEdit changes the server's answer to a command; what it returns is sent. It is called from several goroutines.
type MongoEdit func(command MongoCommand, reply bson.D) bson.D

// NewMongoWire starts a proxy in front of target, a host:port. It ends with the test.
func NewMongoWire(tb testing.TB, target string) *MongoWire {
	tb.Helper()
	listener, err := listenAnywhere()
	if err != nil {
		tb.Fatalf("start a proxy for %s: %v", target, err)
	}
	w := &MongoWire{Addr: listener.Addr().String(), listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	w.tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			w.tasks.Go(func() { w.serve(conn) })
		}
	})
	tb.Cleanup(w.close)
	return w
}

// MongoServer is the host:port of the stack's MongoDB.
func MongoServer(tb testing.TB) string {
	tb.Helper()
	server, err := parseMongoURL(Services(tb).MongoDB)
	if err != nil {
		tb.Fatalf("read the stack's MongoDB URL: %v", err)
	}
	return server.hosts
}

// Edit sets what changes the answers from now on; nil changes none.
func (w *MongoWire) Edit(edit MongoEdit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.edit = edit
}

// Commands are the commands with one of these names that clients have sent so far, in their order.
func (w *MongoWire) Commands(names ...string) []MongoCommand {
	w.mu.Lock()
	defer w.mu.Unlock()
	var sent []MongoCommand
	for _, c := range w.commands {
		for _, name := range names {
			if c.Name == name {
				sent = append(sent, c)
			}
		}
	}
	return sent
}

func (w *MongoWire) close() {
	_ = w.listener.Close()
	w.mu.Lock()
	w.closed = true
	for conn := range w.conns {
		_ = conn.Close()
	}
	w.mu.Unlock()
	w.tasks.Wait()
}

// hold keeps a connection, which ends with the proxy; false: the proxy has ended.
func (w *MongoWire) hold(conn net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = conn.Close()
		return false
	}
	w.conns[conn] = struct{}{}
	return true
}

func (w *MongoWire) drop(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, conn)
	_ = conn.Close()
}

func (w *MongoWire) serve(client net.Conn) {
	if !w.hold(client) {
		return
	}
	defer w.drop(client)
	server, err := net.DialTimeout("tcp", w.target, patience)
	if err != nil || !w.hold(server) {
		return
	}
	defer w.drop(server)
	for w.exchange(client, server) == nil {
	}
}

// exchange passes one command and its answer. Drivers send the next command after that.
func (w *MongoWire) exchange(client, server net.Conn) error {
	message, err := readMessage(client)
	if err != nil {
		return err
	}
	command, err := message.document()
	if err != nil {
		return err
	}
	sent := MongoCommand{Name: command.Index(0).Key(), Body: command}
	w.mu.Lock()
	w.commands = append(w.commands, sent)
	edit := w.edit
	w.mu.Unlock()
	if _, err := server.Write(message.bytes); err != nil {
		return err
	}
	answer, err := readMessage(server)
	if err != nil {
		return err
	}
	if edit == nil {
		_, err = client.Write(answer.bytes)
		return err
	}
	raw, err := answer.document()
	if err != nil {
		return err
	}
	var reply bson.D
	if err := bson.Unmarshal(raw, &reply); err != nil {
		return err
	}
	changed, err := bson.Marshal(edit(sent, reply))
	if err != nil {
		return err
	}
	_, err = client.Write(answer.with(changed))
	return err
}

// mongoMessage is one message of the protocol:
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
type mongoMessage struct {
	bytes      []byte
	request    int32
	responseTo int32
	code       wiremessage.OpCode
	body       []byte
}

const (
	headerLength  = 16
	longestMongo  = 48_000_000 // the protocol's own limit
	replyPreamble = 20         // of a legacy answer: flags, cursor, start, number
)

func readMessage(from io.Reader) (m mongoMessage, err error) {
	header := make([]byte, headerLength)
	if _, err := io.ReadFull(from, header); err != nil {
		return m, err
	}
	length := binary.LittleEndian.Uint32(header)
	if length < headerLength || length > longestMongo {
		return m, fmt.Errorf("a message of %d bytes", length)
	}
	m.bytes = append(header, make([]byte, length-headerLength)...)
	if _, err := io.ReadFull(from, m.bytes[headerLength:]); err != nil {
		return m, err
	}
	_, m.request, m.responseTo, m.code, m.body, _ = wiremessage.ReadHeader(m.bytes)
	return m, nil
}

var errMongoMessage = errors.New("this message is none that the proxy knows")

// document is the command or the answer that the message carries. Clients say their first hello in the legacy form.
func (m *mongoMessage) document() (bson.Raw, error) {
	rest, ok := m.body, true
	switch m.code {
	case wiremessage.OpMsg:
		_, rest, ok = wiremessage.ReadMsgFlags(rest)
		for ok && len(rest) > 0 {
			var kind wiremessage.SectionType
			if kind, rest, ok = wiremessage.ReadMsgSectionType(rest); !ok {
				break
			}
			if kind == wiremessage.SingleDocument {
				document, _, ok := wiremessage.ReadMsgSectionSingleDocument(rest)
				if !ok {
					break
				}
				return bson.Raw(document), nil
			}
			_, _, rest, ok = wiremessage.ReadMsgSectionRawDocumentSequence(rest)
		}
	case wiremessage.OpQuery:
		_, rest, _ = wiremessage.ReadQueryFlags(rest)
		_, rest, _ = wiremessage.ReadQueryFullCollectionName(rest)
		_, rest, _ = wiremessage.ReadQueryNumberToSkip(rest)
		_, rest, _ = wiremessage.ReadQueryNumberToReturn(rest)
		if document, _, ok := wiremessage.ReadQueryQuery(rest); ok {
			return bson.Raw(document), nil
		}
	case wiremessage.OpReply:
		if len(rest) > replyPreamble {
			if document, _, ok := wiremessage.ReadReplyDocument(rest[replyPreamble:]); ok {
				return bson.Raw(document), nil
			}
		}
	}
	return nil, errMongoMessage
}

// with is the same answer with another document.
func (m *mongoMessage) with(document []byte) []byte {
	_, message := wiremessage.AppendHeaderStart(nil, m.request, m.responseTo, m.code)
	if m.code == wiremessage.OpReply {
		message = append(message, m.body[:replyPreamble]...)
	} else {
		message = wiremessage.AppendMsgFlags(message, 0)
		message = wiremessage.AppendMsgSectionType(message, wiremessage.SingleDocument)
	}
	message = append(message, document...)
	binary.LittleEndian.PutUint32(message, uint32(len(message)))
	return message
}
