import java.io.*;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;

/** A session of pgjdbc: each step by its name, what came of it on one line. Arguments: host, port. */
public class Session {
    interface Step { void run(Connection c) throws Exception; }

    static String url;
    static final Map<String, Step> STEPS = new LinkedHashMap<>();

    static void check(boolean held) { if (!held) throw new AssertionError(); }

    static Connection open(String... options) throws SQLException {
        Properties with = new Properties();
        with.setProperty("user", "postgres");
        with.setProperty("password", "secret");
        for (int i = 0; i < options.length; i += 2) with.setProperty(options[i], options[i + 1]);
        return DriverManager.getConnection(url, with);
    }

    static String refusedWith(Connection c, String text) throws SQLException {
        try (Statement s = c.createStatement()) { s.execute(text); return ""; }
        catch (SQLException e) { return e.getSQLState(); }
    }

    static void steps() {
        STEPS.put("simple statement", c -> {
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT 1 AS one, 'x'::text AS t")) {
                check(r.next() && r.getInt("one") == 1 && r.getString(2).equals("x") && !r.next());
            }
        });
        STEPS.put("several statements", c -> {
            try (Statement s = c.createStatement()) {
                check(s.execute("SELECT 1; SELECT 2; CREATE TEMP TABLE m (n int); INSERT INTO m VALUES (1), (2)"));
                check(s.getMoreResults() && !s.getMoreResults() && s.getUpdateCount() == 0);
                check(!s.getMoreResults() && s.getUpdateCount() == 2);
            }
        });
        STEPS.put("prepared until named and binary", c -> {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::int + 1, ?::text, ?::timestamptz, ?::numeric")) {
                for (int i = 0; i < 12; i++) {
                    s.setInt(1, i); s.setString(2, "v" + i); s.setTimestamp(3, new Timestamp(1000L * i));
                    s.setBigDecimal(4, new java.math.BigDecimal("1.50"));
                    try (ResultSet r = s.executeQuery()) {
                        check(r.next() && r.getInt(1) == i + 1 && r.getString(2).equals("v" + i));
                        check(r.getTimestamp(3).getTime() == 1000L * i);
                    }
                }
            }
        });
        STEPS.put("batch", c -> {
            try (Statement s = c.createStatement()) { s.execute("CREATE TEMP TABLE b (id int, v text)"); }
            try (PreparedStatement s = c.prepareStatement("INSERT INTO b VALUES (?, ?)")) {
                for (int i = 0; i < 3000; i++) { s.setInt(1, i); s.setString(2, "v" + i); s.addBatch(); }
                check(s.executeBatch().length == 3000);
            }
        });
        STEPS.put("batch that fails amid", c -> {
            try (Statement s = c.createStatement()) { s.execute("CREATE TEMP TABLE u (id int PRIMARY KEY)"); }
            try (PreparedStatement s = c.prepareStatement("INSERT INTO u VALUES (?)")) {
                for (int i = 0; i < 300; i++) { s.setInt(1, i % 200); s.addBatch(); }
                try { s.executeBatch(); check(false); } catch (BatchUpdateException e) { check(e.getSQLState().equals("23505")); }
            }
            check(refusedWith(c, "SELECT 1").isEmpty());
        });
        STEPS.put("generated keys", c -> {
            try (Statement s = c.createStatement()) { s.execute("CREATE TEMP TABLE g (id serial, v text)"); }
            try (PreparedStatement s = c.prepareStatement("INSERT INTO g (v) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
                s.setString(1, "x"); s.executeUpdate();
                try (ResultSet r = s.getGeneratedKeys()) { check(r.next() && r.getInt("id") == 1); }
            }
        });
        STEPS.put("rows by portal", c -> {
            c.setAutoCommit(false);
            try (PreparedStatement s = c.prepareStatement("SELECT n FROM generate_series(1, 1000) n")) {
                s.setFetchSize(70);
                int count = 0;
                try (ResultSet r = s.executeQuery()) { while (r.next()) count++; }
                check(count == 1000);
            }
            c.commit();
            c.setAutoCommit(true);
        });
        STEPS.put("two portals at once", c -> {
            c.setAutoCommit(false);
            try (Statement a = c.createStatement(); Statement b = c.createStatement()) {
                a.setFetchSize(10); b.setFetchSize(7);
                try (ResultSet x = a.executeQuery("SELECT n FROM generate_series(1, 100) n");
                     ResultSet y = b.executeQuery("SELECT n FROM generate_series(1, 100) n")) {
                    for (int i = 1; i <= 100; i++) check(x.next() && y.next() && x.getInt(1) == i && y.getInt(1) == i);
                }
            }
            c.rollback();
            c.setAutoCommit(true);
        });
        STEPS.put("savepoints", c -> {
            c.setAutoCommit(false);
            Savepoint before = c.setSavepoint("before");
            check(refusedWith(c, "SELECT 1/0").equals("22012"));
            check(refusedWith(c, "SELECT 1").equals("25P02"));
            c.rollback(before);
            check(refusedWith(c, "SELECT 1").isEmpty());
            c.commit();
            c.setAutoCommit(true);
        });
        STEPS.put("isolation and read only", c -> {
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            c.setReadOnly(true); c.setAutoCommit(false);
            check(refusedWith(c, "CREATE TABLE no (id int)").equals("25006"));
            c.rollback(); c.setAutoCommit(true); c.setReadOnly(false);
            c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        });
        STEPS.put("COPY both ways", c -> {
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            try (Statement s = c.createStatement()) { s.execute("CREATE TEMP TABLE p (id int, v text)"); }
            check(copy.copyIn("COPY p FROM STDIN", new StringReader("1\tx\n2\ty\n")) == 2);
            StringWriter out = new StringWriter();
            check(copy.copyOut("COPY p TO STDOUT", out) == 2 && out.toString().equals("1\tx\n2\ty\n"));
            try { copy.copyIn("COPY p FROM STDIN", new StringReader("no\tx\n")); check(false); }
            catch (SQLException e) { check(e.getSQLState().equals("22P02")); }
            check(refusedWith(c, "SELECT 1").isEmpty());
        });
        STEPS.put("notifications", c -> {
            try (Statement s = c.createStatement()) { s.execute("LISTEN heard"); s.execute("NOTIFY heard, 'x'"); }
            PGNotification[] found = c.unwrap(PGConnection.class).getNotifications(5000);
            check(found != null && found.length == 1 && found[0].getParameter().equals("x"));
        });
        STEPS.put("cancel", c -> {
            try (Statement s = c.createStatement()) {
                new Thread(() -> { try { Thread.sleep(300); s.cancel(); } catch (Exception e) { throw new RuntimeException(e); } }).start();
                try { s.execute("SELECT pg_sleep(20)"); check(false); } catch (SQLException e) { check(e.getSQLState().equals("57014")); }
            }
            check(refusedWith(c, "SELECT 1").isEmpty());
        });
        STEPS.put("query timeout", c -> {
            try (Statement s = c.createStatement()) {
                s.setQueryTimeout(1);
                try { s.execute("SELECT pg_sleep(20)"); check(false); } catch (SQLException e) { check(e.getSQLState().equals("57014")); }
            }
        });
        STEPS.put("metadata", c -> {
            try (Statement s = c.createStatement()) {
                s.execute("CREATE TABLE meta (id int PRIMARY KEY, v varchar(20) DEFAULT 'x'); COMMENT ON TABLE meta IS 'seen'");
            }
            DatabaseMetaData m = c.getMetaData();
            for (ResultSet r : List.of(m.getTables(null, null, "%", null), m.getSchemas(), m.getCatalogs(), m.getTypeInfo(),
                    m.getColumns(null, null, "meta", null), m.getPrimaryKeys(null, null, "meta"),
                    m.getIndexInfo(null, null, "meta", false, false), m.getImportedKeys(null, null, "meta"),
                    m.getExportedKeys(null, null, "meta"), m.getProcedures(null, null, "%"), m.getFunctions(null, null, "abs"),
                    m.getTablePrivileges(null, null, "meta"), m.getColumnPrivileges(null, null, "meta", "%"),
                    m.getBestRowIdentifier(null, null, "meta", 0, true), m.getUDTs(null, null, "%", null))) {
                while (r.next()) { check(r.getMetaData().getColumnCount() > 0); }
                r.close();
            }
            try (PreparedStatement s = c.prepareStatement("SELECT id, v FROM meta WHERE id = ?")) {
                check(s.getMetaData().getColumnDisplaySize(2) == 20 && s.getParameterMetaData().getParameterCount() == 1);
            }
        });
        STEPS.put("updatable results", c -> {
            try (Statement t = c.createStatement()) { t.execute("CREATE TABLE up (id int PRIMARY KEY, v text); INSERT INTO up VALUES (1, 'x')"); }
            try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_SENSITIVE, ResultSet.CONCUR_UPDATABLE);
                 ResultSet r = s.executeQuery("SELECT id, v FROM up")) {
                check(r.next()); r.updateString("v", "y"); r.updateRow();
                r.moveToInsertRow(); r.updateInt("id", 2); r.updateString("v", "z"); r.insertRow();
            }
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT string_agg(v, '' ORDER BY id) FROM up")) {
                check(r.next() && r.getString(1).equals("yz"));
            }
        });
        STEPS.put("arrays, bytes, JSON, composite", c -> {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::int[], ?::bytea, ?::jsonb, ROW(1, 'x')")) {
                s.setArray(1, c.createArrayOf("int4", new Integer[] {1, null, 3})); s.setBytes(2, new byte[] {0, 1, -1});
                s.setString(3, "{\"a\": 1}");
                for (int i = 0; i < 7; i++) try (ResultSet r = s.executeQuery()) {
                    check(r.next() && ((Integer[]) r.getArray(1).getArray()).length == 3 && r.getBytes(2).length == 3);
                }
            }
        });
        STEPS.put("call of a function", c -> {
            try (CallableStatement s = c.prepareCall("{? = call upper(?)}")) {
                s.registerOutParameter(1, Types.VARCHAR); s.setString(2, "x"); s.execute(); check(s.getString(1).equals("X"));
            }
        });
        STEPS.put("large objects", c -> {
            c.setAutoCommit(false);
            var large = c.unwrap(PGConnection.class).getLargeObjectAPI();
            try { large.createLO(); } finally { c.rollback(); c.setAutoCommit(true); }
        });
        STEPS.put("schema changed under a prepared statement", c -> {
            try (Statement t = c.createStatement()) { t.execute("CREATE TABLE ch (id int); INSERT INTO ch VALUES (1)"); }
            try (PreparedStatement s = c.prepareStatement("SELECT * FROM ch")) {
                for (int i = 0; i < 7; i++) s.executeQuery().close();
                try (Statement t = c.createStatement()) { t.execute("ALTER TABLE ch ADD COLUMN v text"); }
                try (ResultSet r = s.executeQuery()) { check(r.getMetaData().getColumnCount() == 2); }
            }
        });
        STEPS.put("warnings", c -> {
            try (Statement s = c.createStatement()) {
                s.execute("DO $$ BEGIN RAISE WARNING 'heard'; END $$");
                check(s.getWarnings() != null && s.getWarnings().getMessage().contains("heard"));
            }
        });
        STEPS.put("two-phase commit", c -> {
            c.setAutoCommit(false);
            String said = refusedWith(c, "PREPARE TRANSACTION 'jdbc'");
            check(said.isEmpty() || said.equals("55000"));
            c.rollback(); c.setAutoCommit(true);
            if (said.isEmpty()) check(refusedWith(c, "ROLLBACK PREPARED 'jdbc'").isEmpty());
        });
    }

    public static void main(String[] arguments) throws Exception {
        url = "jdbc:postgresql://" + arguments[0] + ":" + arguments[1] + "/compat";
        steps();
        String[][] modes = {{"preferQueryMode", "extended"}, {"preferQueryMode", "simple"}, {"preferQueryMode", "extendedForPrepared"},
            {"preferQueryMode", "extendedCacheEverything"}, {"binaryTransfer", "false"}, {"prepareThreshold", "1"},
            {"reWriteBatchedInserts", "true"}, {"autosave", "always"}};
        for (String[] mode : modes) {
            try (Connection c = open(); Statement s = c.createStatement()) { s.execute("DROP TABLE IF EXISTS meta, up, ch"); }
            for (Map.Entry<String, Step> step : STEPS.entrySet()) {
                String came = "passed";
                try (Connection c = open(mode)) { step.getValue().run(c); }
                catch (Throwable e) { came = "failed " + e.toString().replace('\n', ' ') + " " + Arrays.toString(e.getStackTrace()); }
                System.out.println(mode[0] + "=" + mode[1] + ": " + step.getKey() + "\t" + came);
            }
        }
    }
}
