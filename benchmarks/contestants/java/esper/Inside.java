package parking;

/** That something is in a no-parking zone. */
public record Inside(String path) {
    public String getPath() {
        return path;
    }
}
