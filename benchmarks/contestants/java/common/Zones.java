package parking;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;
import java.util.Arrays;
import org.locationtech.jts.geom.Coordinate;
import org.locationtech.jts.geom.Envelope;
import org.locationtech.jts.geom.GeometryFactory;
import org.locationtech.jts.geom.LinearRing;
import org.locationtech.jts.geom.Point;
import org.locationtech.jts.geom.Polygon;
import org.locationtech.jts.geom.prep.PreparedGeometry;
import org.locationtech.jts.geom.prep.PreparedGeometryFactory;
import org.locationtech.jts.index.ItemVisitor;
import org.locationtech.jts.index.strtree.STRtree;

/** The geofence: a tree of boxes and a prepared geometry for each zone. For one thread. */
public final class Zones {
    private static final String NO_PARKING = "no-parking/";
    private static final int MOST_AT_ONE_POINT = 64;

    private record Zone(int number, boolean noParking, PreparedGeometry shape) {}

    private final GeometryFactory geometries = new GeometryFactory();
    private final STRtree tree = new STRtree();
    private final int[] found = new int[MOST_AT_ONE_POINT];
    private long memberships;

    public Zones(String file) throws IOException {
        JsonNode features = new ObjectMapper().readTree(new File(file)).get("features");
        String[] paths = paths(features);
        for (int number = 0; number < paths.length; number++) {
            JsonNode feature = features.get(number);
            Polygon polygon = polygon(feature.get("geometry").get("coordinates"));
            boolean noParking = paths[number].startsWith(NO_PARKING);
            Zone zone = new Zone(number, noParking, PreparedGeometryFactory.prepare(polygon));
            tree.insert(polygon.getEnvelopeInternal(), zone);
        }
        tree.build();
    }

    /** Each zone's `kind/id`, by number. */
    public static String[] paths(String file) throws IOException {
        return paths(new ObjectMapper().readTree(new File(file)).get("features"));
    }

    private static String[] paths(JsonNode features) {
        String[] paths = new String[features.size()];
        for (int number = 0; number < paths.length; number++) {
            JsonNode feature = features.get(number);
            paths[number] = feature.get("properties").get("kind").asText() + "/" + feature.get("id").asText();
        }
        return paths;
    }

    /** How often a point was inside a zone of any kind, so far. */
    public long memberships() {
        return memberships;
    }

    /** The numbers of the no-parking zones around a point; those of other kinds are only counted. */
    public int[] noParkingAt(double lon, double lat) {
        Point point = geometries.createPoint(new Coordinate(lon, lat));
        Visit visit = new Visit(point);
        tree.query(new Envelope(lon, lon, lat, lat), visit);
        return Arrays.copyOf(found, visit.count);
    }

    private final class Visit implements ItemVisitor {
        private final Point point;
        private int count;

        Visit(Point point) {
            this.point = point;
        }

        @Override
        public void visitItem(Object item) {
            Zone zone = (Zone) item;
            if (zone.shape.covers(point)) {
                memberships++;
                if (zone.noParking) {
                    found[count++] = zone.number;
                }
            }
        }
    }

    private Polygon polygon(JsonNode rings) {
        LinearRing[] holes = new LinearRing[rings.size() - 1];
        for (int k = 0; k < holes.length; k++) {
            holes[k] = ring(rings.get(k + 1));
        }
        return geometries.createPolygon(ring(rings.get(0)), holes);
    }

    private LinearRing ring(JsonNode places) {
        Coordinate[] corners = new Coordinate[places.size()];
        for (int k = 0; k < corners.length; k++) {
            corners[k] = new Coordinate(places.get(k).get(0).asDouble(), places.get(k).get(1).asDouble());
        }
        return geometries.createLinearRing(corners);
    }
}
